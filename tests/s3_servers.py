"""A server of S3 on this machine (moto's), and buckets on it: what tests that read from a bucket share."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

SECRET = "the-secret-key-of-tests"
SERVE = [sys.executable, "-m", "moto.server"]


def environment(endpoint: str) -> dict[str, str]:
    """What a process has in its environment to read from the server, and from no other."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key-of-tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
    }


def client(endpoint: str) -> Any:
    import boto3

    return boto3.Session("key", SECRET, region_name="us-east-1").client("s3", endpoint_url=endpoint)


def put(endpoint: str, bucket: str, folder: Path) -> str:
    """Copy a folder into a bucket, and return its URL there."""
    s3 = client(endpoint)
    s3.create_bucket(Bucket=bucket)
    for path in folder.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), bucket, f"shards/{path.relative_to(folder)}")
    return f"s3://{bucket}/shards"


def wait_for(endpoint: str, seconds: float = 60) -> None:
    """Until a server answers. Raises OSError."""
    opener, until = build_opener(ProxyHandler({})), time.monotonic() + seconds
    while True:
        try:
            opener.open(f"{endpoint}/moto-api", timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


class Server:
    """One that runs in a process of its own, and what it has been asked for."""

    def __init__(self, process: subprocess.Popen, endpoint: str, log: Path) -> None:
        self.process, self.endpoint, self._log = process, endpoint, log

    def put(self, bucket: str, folder: Path) -> str:
        return put(self.endpoint, bucket, folder)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def fetched(self, prefix: str) -> list[str]:
        """The files below a prefix that were fetched, in their order, as often as they were."""
        asked = [line.split('"')[1].split() for line in self._log.read_text().splitlines() if '"GET ' in line]
        return [where.removeprefix(f"/{prefix}") for _, where, _ in asked if where.startswith(f"/{prefix}")]


@contextmanager
def s3_server(port: int, folder: Path) -> Iterator[Server]:
    """A server at a port of 127.0.0.1, for as long as the context lasts."""
    log = folder / f"s3-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen([*SERVE, "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output)
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_for(server.endpoint)
        yield server
    finally:
        server.stop()


if __name__ == "__main__":  # on another host
    address, name, source = sys.argv[1:]
    os.environ.pop("AWS_PROFILE", None)
    wait_for(address)
    print(put(address, name, Path(source)))

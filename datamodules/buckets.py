"""Files of a bucket, fetched to this machine within bounded time, or an error that says why not and what to do.

Who may read a bucket of S3, and where its server is, boto3 finds out as always: from AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws, or the machine's role; AWS_ENDPOINT_URL names a server that is not Amazon's.
So no setting holds a secret, and no run folder.
"""

import logging
import os
import shutil
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from foundation.atomic import DiskFullError, disk_full, no_room
from foundation.errors import ConfigError, first_line
from foundation.progress import say
from foundation.secrets import without_passwords

from .image_datamodule import DataError
from .places import GOOGLE, LOCAL, READ_HERE, S3

logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells where it has found credentials
CONNECT, READ = 10, 30  # seconds that a server may take to answer, before it is tried again
# How often, AWS_MAX_ATTEMPTS says, by default a few times. litdata's own client tries a thousand times.
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE=<a profile of ~/.aws>"
ELSEWHERE = "and AWS_ENDPOINT_URL=<its server's address> if the bucket is not Amazon's"


class FetchError(DataError):
    """What is read while training can't be had, such as a file of a bucket; the message says why, and what to do."""


class MissingFileError(FetchError):
    """There is no such file in a bucket, which itself is there."""


class UnreachableError(FetchError):
    """A bucket's server does not answer, or not as it should, which may pass."""


class Bucket:
    """The files below the URL of a bucket's folder. Safe to use in several threads, and after a fork."""

    def __init__(self, root: str) -> None:
        """Raises ConfigError where such a URL can't be read at all."""
        self.root = root.rstrip("/")
        self._client: Any = None
        self._owner, self._lock = os.getpid(), threading.Lock()
        _check(self.root)

    def fetch(self, name: str, path: Path) -> None:
        """Copy one file to `path`. Raises MissingFileError, UnreachableError, another FetchError, or DiskFullError."""
        try:
            with path.open("wb") as file:
                self._read(name, file)
        except Exception as error:  # each cloud's library raises errors of its own kinds
            if no_room(error):
                raise DiskFullError(disk_full(path)) from error
            url = f"{self.root}/{name}"
            if self._is_missing(error):
                raise MissingFileError(f"{url} is not there") from error
            kind = UnreachableError if self._may_pass(error) else FetchError
            raise kind(without_passwords(f"{url} can't be fetched: {self._reason(error)}")) from error

    def sizes(self, folder: str) -> dict[str, int] | None:
        """How many bytes each file of a folder has; None where that can't be asked for. Raises FetchError."""
        if self.root.startswith(LOCAL):
            place = Path(self.root.removeprefix(LOCAL), folder)
            return {path.name: path.stat().st_size for path in place.iterdir()} if place.is_dir() else {}
        if not self.root.startswith(S3):
            return None
        bucket, prefix = self._place(f"{folder}/")
        try:
            pages = self._own_client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            files = [file for page in pages for file in page.get("Contents", [])]
        except Exception as error:  # as above
            if _status(error) == 403:
                say(f"{self.root}: its files may be read and not listed, so whether all are there is not known before")
                return None
            raise FetchError(without_passwords(f"{self.root} can't be listed: {self._reason(error)}")) from error
        return {file["Key"].removeprefix(prefix): file["Size"] for file in files}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}  # to a process that is not forked: neither clients nor locks can be sent

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _read(self, name: str, file: IO[bytes]) -> None:
        if self.root.startswith(LOCAL):
            with Path(self.root.removeprefix(LOCAL), name).open("rb") as source:
                shutil.copyfileobj(source, file)
        elif self.root.startswith(S3):
            bucket, key = self._place(name)
            self._own_client().download_fileobj(bucket, key, file, Config=_as_one_transfer())
        else:
            self._own_client().download_fileobj(f"{self.root}/{name}", file)

    def _place(self, name: str) -> tuple[str, str]:
        parts = urlsplit(self.root)
        return parts.netloc, f"{parts.path}/{name}".lstrip("/")

    def _own_client(self) -> Any:
        """One for each process: the connections of another, that it was forked of, are not its own."""
        if self._owner != os.getpid():
            self._client, self._owner, self._lock = None, os.getpid(), threading.Lock()
        with self._lock:
            if self._client is None:
                self._client = _s3_client() if self.root.startswith(S3) else _google_client(self.root)
            return self._client

    def _is_missing(self, error: Exception) -> bool:
        if self.root.startswith(LOCAL):
            return isinstance(error, FileNotFoundError)
        if self.root.startswith(GOOGLE):
            return type(error).__name__ == "NotFound"
        return _status(error) == 404 and self._bucket_is_there()

    def _bucket_is_there(self) -> bool:
        """What a server says of a missing file does not tell that from a missing bucket."""
        try:
            self._own_client().head_bucket(Bucket=urlsplit(self.root).netloc)
        except Exception as error:
            return _status(error) != 404  # who may read files may not always ask for the bucket
        return True

    def _may_pass(self, error: Exception) -> bool:
        if not self.root.startswith(S3):
            return isinstance(error, ConnectionError | TimeoutError)
        from boto3.exceptions import RetriesExceededError
        from botocore.exceptions import ConnectionError as NoConnectionError
        from botocore.exceptions import HTTPClientError

        no_answer = isinstance(error, HTTPClientError | NoConnectionError | RetriesExceededError)
        return no_answer or (_status(error) or 0) >= 500

    def _reason(self, error: Exception) -> str:
        if not self.root.startswith(S3):
            return first_line(error)
        from botocore import exceptions as of_s3

        if _status(error) == 404:
            return f"there is no bucket {urlsplit(self.root).netloc}; check its name, {ELSEWHERE}"
        if _status(error) in (401, 403):
            return f"the server refuses to let it be read ({first_line(error)}); {CREDENTIALS}, of one who may read it"
        if isinstance(error, (of_s3.NoCredentialsError, of_s3.PartialCredentialsError, of_s3.ProfileNotFound)):
            return f"{first_line(error)}; {CREDENTIALS}"
        if self._may_pass(error):
            return f"{first_line(error)}; check the network, {ELSEWHERE}"
        return f"{first_line(error)}; check the URL, the network and your rights"


def _check(root: str) -> None:
    if "@" in urlsplit(root).netloc:
        raise ConfigError(f"data.root: the URL of a bucket holds no user and no password; {CREDENTIALS}")
    if root.startswith("r2://"):
        raise ConfigError(
            "data.root: buckets of R2 are read as S3: s3://…, with AWS_ENDPOINT_URL=<the account's address>"
        )
    if not root.startswith(READ_HERE):
        scheme = f"{urlsplit(root).scheme}://"
        raise ConfigError(f"data.root: shards can't be read from {scheme}…; copy them to a folder, or a bucket of S3")
    if root.startswith((S3, GOOGLE)) and not urlsplit(root).netloc:
        raise ConfigError(f"data.root: {root} names no bucket; as in s3://bucket/shards")
    if root.startswith(GOOGLE) and not _is_installed("google.cloud.storage"):
        raise ConfigError(f"data.root: {GOOGLE}… needs google-cloud-storage: pip install google-cloud-storage")


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it is a part of
        return False


def _s3_client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.Session().client("s3", config=Config(connect_timeout=CONNECT, read_timeout=READ))


def _as_one_transfer() -> Any:
    """Without threads of its own, which Python waits for at its end, and without tries besides those of the client."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(use_threads=False, num_download_attempts=1)


def _google_client(root: str) -> Any:
    from litdata.streaming.downloader import get_downloader

    return get_downloader(root, "", [])


def _status(error: Exception) -> int | None:
    """What an S3 server has answered, by its number in HTTP; None: another kind of error."""
    response = getattr(error, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None

"""Several hosts on one machine: network namespaces with addresses and names, joined by a switch. Linux, as root.

python benchmarks/hosts.py up 2                          # host0 and host1, until `down`
python benchmarks/hosts.py run -- torchrun …             # a command on each of them, at the same time
python benchmarks/hosts.py down
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PREFIX = "vae-gan"  # of the namespaces that the command makes; others that run beside it take another
NETWORK = "10.77.0"  # seen by no one outside of the namespaces: the switch is in one of its own
PATIENCE = 5.0  # seconds for what still runs on a host that is removed
FILES = Path("/etc/netns")  # what lies here for a namespace is its own /etc, to what `ip netns exec` starts


@dataclass(frozen=True)
class Host:
    """One of them: `start` runs a command there, `die` ends all that runs there at once, as a power cut does."""

    namespace: str
    name: str
    address: str
    port: str  # where its cable is in the switch

    def start(self, command: Sequence[str], **popen: Any) -> subprocess.Popen:
        """A command on this host, with its own name, network and processes; killed, it takes them with it."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name, *command]
        inside = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", *named]
        return subprocess.Popen(["ip", "netns", "exec", self.namespace, *inside], **popen)

    def limit(self, megabits: float) -> None:
        """Let it send no more than so many megabits a second from now on."""
        shaped = ["root", "tbf", "rate", f"{megabits:g}mbit", "burst", "256kb", "latency", "50ms"]
        command = ["tc", "-n", self.namespace, "qdisc", "replace", "dev", "eth0", *shaped]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def processes(self) -> list[int]:
        found = _ip("netns", "pids", self.namespace, check=False)
        return [int(number) for number in found.split()]

    def die(self) -> None:
        for number in self.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


@contextmanager
def several_hosts(count: int, prefix: str) -> Iterator[list[Host]]:
    """Hosts for as long as the context lasts; `prefix` tells their namespaces from those of others."""
    try:
        yield make(count, prefix)
    finally:
        remove(prefix)


def why_not() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    missing = [tool for tool in ("ip", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"there is no {missing[0]}: install {'iproute2' if missing == ['ip'] else 'iproute2 and util-linux'}"
    if os.geteuid() != 0:
        return "network namespaces are made by root alone"
    probe = f"{PREFIX}-probe-{os.getpid()}"
    try:
        with several_hosts(1, probe) as (host,), host.start(["true"], stderr=subprocess.PIPE, text=True) as process:
            _, said = process.communicate()
            return said.strip() if process.returncode else None
    except subprocess.CalledProcessError as error:
        return f"not allowed here: {' '.join(error.cmd)}: {error.stderr.strip()}"


def make(count: int, prefix: str = PREFIX) -> list[Host]:
    """Make so many hosts. Raises CalledProcessError where that is not allowed, or they are there."""
    switch = f"{prefix}-switch"
    _ip("netns", "add", switch)
    _ip("-n", switch, "link", "add", "switch", "type", "bridge")
    _ip("-n", switch, "link", "set", "switch", "up")
    hosts = [_host(prefix, number) for number in range(count)]
    known = "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in hosts)
    for host in hosts:
        _ip("netns", "add", host.namespace)
        (FILES / host.namespace).mkdir(parents=True, exist_ok=True)
        (FILES / host.namespace / "hosts").write_text(known)
        cable = ["link", "add", host.port, "netns", switch, "type", "veth", "peer", "name", "eth0"]
        _ip(*cable, "netns", host.namespace)
        _ip("-n", switch, "link", "set", host.port, "master", "switch", "up")
        _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", host.namespace, "link", "set", device, "up")
    return hosts


def existing(prefix: str = PREFIX) -> list[str]:
    """The namespaces of a prefix: hosts in their order, and the switch."""
    names = [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]
    return sorted(name for name in names if name.rpartition("-")[0] == prefix)


def found(prefix: str = PREFIX) -> list[Host]:
    """The hosts that are there."""
    numbers = sorted(int(number) for name in existing(prefix) if (number := name.rpartition("-")[2]).isdigit())
    return [_host(prefix, number) for number in numbers]


def remove(prefix: str = PREFIX) -> None:
    """Remove the hosts of a prefix, with all that still runs on them."""
    for host in found(prefix):
        host.die()
        until = time.monotonic() + PATIENCE
        while host.processes() and time.monotonic() < until:
            time.sleep(0.05)
        shutil.rmtree(FILES / host.namespace, ignore_errors=True)
    for namespace in existing(prefix):
        _ip("netns", "delete", namespace)
    if FILES.is_dir() and not any(FILES.iterdir()):
        FILES.rmdir()


def run_everywhere(command: Sequence[str]) -> int:
    """A command on every host at once, each line with the name of its host; the first exit code that is not 0."""
    hosts = found()
    if not hosts:
        sys.exit("there are no hosts; first: python benchmarks/hosts.py up 2")
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, host.name) for host in hosts]
        started = [
            host.start(command, stdout=path.open("w"), stderr=subprocess.STDOUT)
            for host, path in zip(hosts, outputs, strict=True)
        ]
        readers = [path.open() for path in outputs]
        try:
            while any(process.poll() is None for process in started):
                _show(hosts, readers)
                time.sleep(0.2)
        except KeyboardInterrupt:
            for process in started:
                process.terminate()
        _show(hosts, readers)
    return next((process.returncode for process in started if process.wait()), 0)


def _host(prefix: str, number: int) -> Host:
    return Host(f"{prefix}-{number}", f"host{number}", f"{NETWORK}.{number + 1}", f"port{number}")


def _show(hosts: Sequence[Host], readers: Sequence[IO[str]]) -> None:
    for host, reader in zip(hosts, readers, strict=True):
        for line in reader.readlines():
            print(f"{host.name}: {line.rstrip()}", flush=True)


def _ip(*arguments: str, check: bool = True) -> str:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("up", help="make hosts").add_argument("count", type=int)
    actions.add_parser("down", help="remove them")
    actions.add_parser("run", help="a command on each of them").add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    if given.action == "up":
        if existing():
            sys.exit("there are hosts; first: python benchmarks/hosts.py down")
        for host in make(given.count):
            print(f"{host.name}: {host.address}, ip netns exec {host.namespace} …")
    elif given.action == "down":
        remove()
    else:
        sys.exit(run_everywhere([word for word in given.command if word != "--"]))


if __name__ == "__main__":
    main()

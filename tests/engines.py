"""What tests of engines share: everything that a test has started is known again, so that nothing is left running."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = "VAE_VS_GAN_TEST"  # in the environment of what a test starts, and of what that starts in turn


def processes(mark: str, named: str = "") -> Iterator[int]:
    """Those that were started with this mark, and have a word in their command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if is_marked and named.encode() in (folder / "cmdline").read_bytes():
                yield int(folder.name)
        except (OSError, ProcessLookupError):  # it has ended meanwhile
            continue


def wait_until(true: Callable[[], object], seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"after {seconds:.0f} s there is no {what}"
        time.sleep(0.1)


def all_ended(mark: str, seconds: float = 20.0) -> bool:
    """Whether nothing that has the mark runs any more, soon; what does is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not list(processes(mark)):
            return True
        time.sleep(0.2)
    for number in processes(mark):
        os.kill(number, signal.SIGKILL)
    return False

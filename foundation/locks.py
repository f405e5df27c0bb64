"""The sole use of a folder, by a lock that ends with the process that holds it, however that ends."""

import os
import socket
from contextlib import suppress
from datetime import datetime
from errno import EINVAL, ENOLCK, ENOSYS, ENOTSUP
from pathlib import Path
from typing import IO

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
CANNOT_LOCK = {EINVAL, ENOLCK, ENOSYS, ENOTSUP}  # what file systems without locks answer


class InUseError(UserError):
    """A folder is in use by another program; the message says by which, and what to do."""


class FolderLock:
    """Held from its construction to `release`, or to the end of the process: `kill -9` leaves none behind.

    On a file system without locks the file's creation is the lock, and a killed process does leave it; the message
    says so to whoever comes next. Raises InUseError, and OSError where the folder is missing or can't be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._path = folder, folder / LOCK
        self._file: IO[str] | None = self._take()

    def release(self) -> None:
        """Let others have the folder; a second call does nothing."""
        if self._file is None:
            return
        if fcntl is None:  # there an open file can't be removed
            self._file.close()
        with suppress(OSError):  # the folder may be gone, or its disk
            self._path.unlink()
        self._file.close()
        self._file = None

    def _take(self) -> IO[str]:
        while True:
            opened = _open(self._path)
            if opened is None:
                continue
            file, is_new = opened
            is_locked = _lock(file)
            if is_locked is False or (is_locked is None and not is_new):
                with file:
                    raise self._in_use(file.read(), is_left_behind=is_locked is None)
            if is_locked is None or _is_at(file, self._path):
                return _signed(file)
            file.close()  # its last holder removed it, after it was opened here

    def _in_use(self, owner: str, is_left_behind: bool) -> InUseError:
        remedy = f"; if that has ended, remove {self._path}" if is_left_behind else ""
        return InUseError(
            f"{self.folder} is in use by another program ({owner or 'which has just begun'}){remedy}. Wait for its "
            "end, or choose another folder"
        )


def _open(path: Path) -> tuple[IO[str], bool] | None:
    """A lock's file, and whether it was created just now; None: it was there and then was not."""
    try:
        return open(path, "x+"), True
    except FileExistsError:
        with suppress(FileNotFoundError):
            return open(path, "r+"), False
    return None


def _lock(file: IO[str]) -> bool | None:
    """Lock a file that no other process has locked, and return whether; None: this file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in CANNOT_LOCK:
            return None
        file.close()
        raise
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _signed(file: IO[str]) -> IO[str]:
    """A lock's file that says whose it is."""
    now = datetime.now().strftime("%Y-%m-%d %H:%M")
    file.truncate(0)
    with suppress(OSError):  # it is locked without a word, too: on a full disk, what is written next says so
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()} since {now}".encode())
    return file

"""Writing a file so that a crash leaves the old one or the new one, never a part."""

import os
import secrets
import shutil
from collections.abc import Callable
from errno import EDQUOT, ENOSPC
from pathlib import Path
from stat import S_IMODE
from typing import Any

from .errors import UserError

NO_SPACE = (ENOSPC, EDQUOT)  # an OSError's numbers for it: of the disk, of a person's share of it
PROBE = 2**20  # bytes


class DiskFullError(UserError, OSError):
    """A file could not be written for lack of room; the message names the disk, and what is safe."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = ENOSPC

    def __str__(self) -> str:
        return str(self.args[0])


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file in the same folder, made if it is missing, then move it into place.

    The new file is on disk before the old one goes. The temporary file has the suffix of `path`, which some writers
    go by, and a random name: process ids are equal in containers that share a folder. Raises OSError, and
    DiskFullError whatever the writer makes of a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.partial{path.suffix}")
    mode = _create(partial)
    try:
        write(partial)
        if S_IMODE(partial.stat().st_mode) != mode:  # some writers put a file in its place that only the owner can read
            partial.chmod(mode)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except Exception as error:
        if is_full(error, partial):
            raise DiskFullError(f"{disk_full(path)}: it was not written, and what it held before is kept") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def disk_full(path: Path) -> str:
    """Which disk is full, in words, and of what size it is."""
    disk = next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.ismount(folder))
    return f"{path}: no room is left on the disk {disk} ({shutil.disk_usage(disk).total / 1e9:,.3g} GB)"


def is_full(error: Exception, partial: Path) -> bool:
    """Whether writing a file failed for lack of room, which some writers report as something else.

    torch says of a checkpoint that is cut off "unexpected pos 403456": so it is tried whether more can be written.
    """
    if isinstance(error, OSError):
        return error.errno in NO_SPACE
    try:
        with open(partial, "ab") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as told:
        return told.errno in NO_SPACE
    return False


def _create(path: Path) -> int:
    """Create an empty file, which must not exist yet, and return the mode that a new file has here."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # less what the umask takes away
    try:
        return S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)

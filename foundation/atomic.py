"""Writing a file so that a crash leaves the old one or the new one, never a part."""

import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from functools import cache
from pathlib import Path
from stat import S_IMODE
from typing import Any

from .errors import UserError
from .locks import FolderLock, InUseError

NO_SPACE = (ENOSPC, EDQUOT)  # an OSError's numbers for it: of the disk, of a person's share of it
PROBE = 2**20  # bytes
PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")  # a hidden folder in which a file is being written


class DiskFullError(UserError, OSError):
    """A file could not be written for lack of room; the message names the disk, and what is safe.

    `remedy`: the command to give once there is room; a program adds it where it is not known yet.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.errno = ENOSPC

    @property
    def remedy(self) -> str:
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.args[0]}. Make room; {self.remedy}" if self.remedy else str(self.args[0])


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file of the same name in a temporary folder beside `path`, then move it into place.

    The new file is on disk before the old one goes. Folders that are missing are made. What killed writers have left
    in the folder is removed. Raises OSError, and DiskFullError whatever the writer makes of a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans_once(path.parent)
        folder, lock = _temporary_folder(path)
    except OSError as error:
        if not no_room(error):
            raise
        raise not_written(path) from error
    try:
        partial = folder / path.name
        mode = _create(partial)
        write(partial)
        if S_IMODE(partial.stat().st_mode) != mode:  # some writers put a file in its place that only the owner can read
            partial.chmod(mode)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except Exception as error:
        if is_full(error, partial):
            with suppress(OSError):
                os.truncate(partial, 0)  # a writer that failed may hold it open, and its room with it
            raise not_written(path) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, if there is one, as `write_atomically` writes it."""
    if source.is_file():
        write_atomically(target, lambda partial: shutil.copyfile(source, partial))


def remove_orphans(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder; what is being written now is locked, and stays."""
    with os.scandir(folder) as entries:
        partial = [Path(entry.path) for entry in entries if PARTIAL.fullmatch(entry.name)]
    for left in partial:
        try:
            lock = FolderLock(left)
        except (InUseError, OSError):  # also of another user, or gone by now
            continue
        shutil.rmtree(left, ignore_errors=True)
        lock.release()


@cache  # a folder of many pictures is not listed for each of them
def _remove_orphans_once(folder: Path) -> None:
    with suppress(OSError):  # it may be one that can be written to and not be listed
        remove_orphans(folder)


def _temporary_folder(path: Path) -> tuple[Path, FolderLock]:
    """A new folder that nobody else uses. Process ids would not do: containers that share a folder have equal ones."""
    while True:
        folder = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
        try:
            folder.mkdir()
        except OSError as error:  # which names what was asked for
            raise OSError(error.errno, error.strerror, str(path)) from error
        try:
            return folder, FolderLock(folder)
        except (InUseError, FileNotFoundError):  # another took it for an orphan, before it was locked
            continue


def not_written(path: Path) -> DiskFullError:
    return DiskFullError(f"{disk_full(path)}: it was not written, and what it held before is kept")


def disk_full(path: Path) -> str:
    """Which disk is full, in words, and of what size it is."""
    disk = next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.ismount(folder))
    return f"{path}: no room is left on the disk {disk} ({shutil.disk_usage(disk).total / 1e9:,.3g} GB)"


def no_room(error: BaseException) -> bool:
    """Whether an error says that a disk is full."""
    return isinstance(error, OSError) and error.errno in NO_SPACE


def is_full(error: Exception, partial: Path) -> bool:
    """Whether writing a file failed for lack of room, which some writers report as something else.

    torch says of a checkpoint that is cut off "unexpected pos 403456": so it is tried whether more can be written.
    """
    if isinstance(error, OSError):
        return no_room(error)
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

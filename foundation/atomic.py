"""Writing a file so that a crash leaves the old one or the new one, never a part."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file in the same folder, made if it is missing, then move it into place.

    The new file is on disk before the old one goes. The temporary file has the suffix of `path`, which some writers
    go by, and a random name: process ids are equal in containers that share a folder. Raises OSError.
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
    finally:
        partial.unlink(missing_ok=True)


def _create(path: Path) -> int:
    """Create an empty file, which must not exist yet, and return the mode that a new file has here."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # less what the umask takes away
    try:
        return S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)

"""A checksum inside a file, of all its other bytes: damage on disk or on the way is noticed where the file is read.

It stands in the file itself, so that both are written, moved and copied in one act. It is a CRC-32: any one flipped
bit changes it, and any run of bytes that are not the ones written passes at a chance of one in four billion. It is
computed many times as fast as a disk reads, which counts for checkpoints and decoded images of gigabytes. Against
people who change a file on purpose it protects as little as any hash that stands beside its data.
"""

import re
import zlib
from pathlib import Path
from typing import BinaryIO

PLACE = "crc32:00000000"  # what a writer puts where the checksum is to stand
CHECKSUM = "checksum"  # the name beside it, in files that have names for what they hold
AT_START = {".csv", ".safetensors"}  # in these it stands in the header, in all others at the end
START, END = 1 << 16, 32  # bytes in which it is looked for
BLOCK = 1 << 20
# With any one byte of its name damaged: else that alone would make a file one that was written without a checksum.
FOUND = re.compile(rb"(?:.rc32:|c.c32:|cr.32:|crc.2:|crc3.:|crc32.)(?=(.{8}))", re.DOTALL)


def seal(path: Path) -> None:
    """Write the checksum of a file to the place in it that has been left for it. Raises OSError."""
    with open(path, "r+b") as file:
        place = _place(file, path.suffix)
        assert place is not None, f"{path} has no place for a checksum"
        checksum = _checksum(file, place)
        file.seek(place)
        file.write(checksum)


def damage(path: Path, must_have: bool = False) -> str | None:
    """What is wrong with a file by its checksum, in words; None: nothing, or it was written without one.

    One that `must_have` a checksum is also wrong without it. Raises OSError.
    """
    with open(path, "rb") as file:
        place = _place(file, path.suffix)
        if place is None:
            return "it has no checksum" if must_have else None
        found = _checksum(file, place)
        file.seek(place)
        written = file.read(len(found))
    if found == written:
        return None
    return f"its bytes are not those that were written (CRC-32 {found.decode()}, not {written.decode('latin-1')!r})"


def _place(file: BinaryIO, suffix: str) -> int | None:
    """Where the eight digits of the checksum are; None: the file has no checksum."""
    begin = 0 if suffix in AT_START else max(0, file.seek(0, 2) - END)
    file.seek(begin)
    found = FOUND.search(file.read(START if suffix in AT_START else END))
    return begin + found.start(1) if found else None


def _checksum(file: BinaryIO, place: int) -> bytes:
    """Of the whole file but the eight digits at `place`, as such digits."""
    file.seek(0)
    checksum, left = 0, place
    while left and (block := file.read(min(BLOCK, left))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    file.seek(place + 8)
    while block := file.read(BLOCK):
        checksum = zlib.crc32(block, checksum)
    return f"{checksum:08x}".encode()

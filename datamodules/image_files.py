"""Image files of any folder: listing them, and a hash of what is known of them without reading them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .image_datamodule import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
REMEDY = "Restore that file or remove it from the folder, and run again."


def list_images(folder: Path) -> list[str]:
    """Image files at any depth, relative to the folder, sorted; hidden ones are left out. Raises DataError."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} can't be listed ({error.strerror}); data.root= wants a folder of images")

    found: list[str] = []
    seen: set[str] = set()
    start = len(os.path.join(folder, ""))
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link in a circle, or to what has been listed already
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(parent, name)[start:] for name in names if is_image(name)]
    if not found:
        raise DataError(f"{folder} has no images ({' '.join(sorted(SUFFIXES))}); set data.root= to a folder that has")
    return sorted(found)


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def hash_of_files(root: Path, paths: Sequence[str], image_shape: tuple[int, int, int]) -> str:
    """A hash of names, sizes and times of change: files are not read, for there may be millions. Raises DataError."""
    digest = hashlib.blake2b(repr(image_shape).encode(), digest_size=8)
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))
        except OSError as error:
            raise DataError(f"{root / path} was listed and can't be found any more ({error}). {REMEDY}") from error
        digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()

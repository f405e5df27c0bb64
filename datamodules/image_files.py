"""Image files of any folder: listing them, and a hash of what is known of them without reading them."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .image_datamodule import DataError

REMEDY = "Restore what is named or remove it from the folder, and run again."
PROGRAMS_OWN = {"@eaDir", "#recycle", "__MACOSX"}  # folders of thumbnails and deleted files
# Formats of which Pillow knows the header only, or that it has other programs draw.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
READING = "upright, over a background"  # how files become pixels: caches of another way are not used
MAX_REASONS = 6  # of what was passed over, that are told


class Listing(NamedTuple):
    """The image files in a folder, and what else is known of what lies there."""

    paths: list[str]  # relative to the folder, sorted
    passed_over: Counter[str]  # how much, by what it is
    folders: set[str]  # the real paths of all folders that were listed
    linked_files: set[str]  # the real paths of files that are links

    def shares_files(self, other: "Listing") -> bool:
        """Whether a file can be reached through both."""
        return bool(
            self.folders & other.folders
            or self.linked_files & other.linked_files
            or any(os.path.dirname(file) in self.folders for file in other.linked_files)
            or any(os.path.dirname(file) in other.folders for file in self.linked_files)
        )


def list_images(folder: Path, option: str, without: Collection[str] = ()) -> Listing:
    """Image files at any depth, through links too, each once. Raises DataError, which names the option to set.

    Passed over are hidden files and folders, those that other programs keep for themselves, what Pillow can't read by
    its ending, and what is no file, such as a named pipe: nothing is opened. `without`: names directly in the folder.
    """
    found = Listing([], Counter(), set(), set())
    links: list[tuple[str, str]] = []  # of files: path, real path
    waiting = [""]
    while waiting:
        below = waiting.pop()
        real = os.path.realpath(os.path.join(folder, below))
        if real in found.folders:  # a link in a circle, or to what has been listed already
            found.passed_over["folders that were listed before"] += 1
            continue
        found.folders.add(real)
        folders = []
        for entry in _entries(folder / below, option):
            path = os.path.join(below, entry.name)
            if path in without:
                continue
            if reason := why_passed_over(entry):
                found.passed_over[reason] += 1
            elif entry.is_dir():
                folders.append(path)
            elif entry.is_symlink():
                links.append((path, os.path.realpath(entry.path)))
            else:
                found.paths.append(path)
        waiting += sorted(folders, reverse=True)
    for path, real in sorted(links):
        is_listed = os.path.dirname(real) in found.folders and why_name_is_passed_over(os.path.basename(real)) is None
        if is_listed or real in found.linked_files:
            found.passed_over["links to images that were listed"] += 1
            continue
        found.linked_files.add(real)
        found.paths.append(path)
    found.paths.sort()
    return found


def _entries(folder: Path, option: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} can't be listed ({error.strerror}); {option}= wants a folder of images") from error


def why_passed_over(entry: os.DirEntry[str]) -> str | None:
    """What an entry of a folder is, if it is neither an image, by its ending, nor a folder to look into."""
    if entry.name in PROGRAMS_OWN:
        return entry.name
    if entry.is_dir():
        return "hidden" if entry.name.startswith(".") else None
    if not entry.is_file():
        return "links to nothing" if entry.is_symlink() and not os.path.exists(entry.path) else "pipes or devices"
    return why_name_is_passed_over(entry.name)


def why_name_is_passed_over(name: str) -> str | None:
    """What a file is by its name, if it is no image."""
    if name.startswith("."):
        return "hidden"
    ending = os.path.splitext(name)[1].lower()
    return None if ending in endings() else ending or "without ending"


@cache
def endings() -> frozenset[str]:
    """The endings of all files that this Pillow decodes."""
    Image.init()
    decoded = Image.OPEN.keys() - NOT_DECODED
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in decoded)


def no_images(folder: Path, listing: Listing, option: str) -> DataError:
    """The error of a folder in which there are none."""
    others = f" ({passed_over(listing.passed_over)})" if listing.passed_over else ""
    return DataError(f"{folder} has no images{others}; set {option}= to a folder that has")


def passed_over(reasons: Counter[str]) -> str:
    """What a listing passed over, as the end of a sentence; empty for nothing."""
    if not reasons:
        return ""
    most = reasons.most_common(MAX_REASONS)
    told = [f"{count:,} {reason}" for reason, count in most]
    if others := reasons.total() - sum(count for _, count in most):
        told.append(f"{others:,} others")
    return f"passed over: {', '.join(told)}"


def hash_of_files(root: Path, paths: Sequence[str], facts: Iterable[object]) -> str:
    """A hash of names, sizes and times of change, and of `facts`: files are not read, for there may be millions.

    Raises DataError.
    """
    digest = hashlib.blake2b(repr((*facts, READING)).encode(), digest_size=8)
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))
        except OSError as error:
            raise DataError(f"{root / path} was listed and can't be found any more ({error}). {REMEDY}") from error
        digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()

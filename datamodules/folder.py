"""Any folder of images, decoded once into a file that is mapped to memory where it would take too much of it."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .decoding import decode
from .disk_cache import load_bytes, store_bytes
from .image_datamodule import DataError, ImageDataModule, LabelledImages, hold_out

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
CLASSLESS = "images"  # the class of what lies in no sub-folder
HELD_OUT_AT_MOST = 10_000
REMEDY = "Restore that file or remove it from the folder, and run again."


class Files(NamedTuple):
    """Image files by split, relative to the folder, in the order in which their images are kept."""

    train: list[str]
    val: list[str]
    test: list[str]
    official: bool  # whether train/, test/ and val/ say which split an image belongs to

    def class_of(self, path: str) -> str:
        folders = path.split(os.sep)[:-1][self.official :]  # the first of official ones is the split
        return folders[0] if folders else CLASSLESS


class Folder(ImageDataModule):
    """Images of any sizes and formats, cropped to a square and resized to `image_size` pixels.

    The class of an image is its first-level sub-folder. With train/ and test/ in the folder, or train/ and val/, the
    official test images are those, and classes their sub-folders; with all three, val is val/. What is not given so
    is drawn by `split_seed`: `num_test` and `num_val` images, or a tenth each.

    The decoded images are cached in `<root>-cache`, or in the user's cache folder where that can't be written. They
    are held in memory, or mapped from that file where they would take more than `memory_share` of the machine's.
    """

    def __init__(
        self,
        root: str,
        image_size: int,
        channels: Literal[1, 3],
        batch_size: int,
        seed: int,
        split_seed: int,
        device: Literal["auto", "cpu"],
        num_val: int | None,
        num_test: int | None,
        memory_share: float,
    ) -> None:
        super().__init__(batch_size, seed, split_seed, device)
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.image_shape = (channels, image_size, image_size)
        self.asked_val, self.asked_test = num_val, num_test
        self.memory_share = memory_share

    @property
    def cache_folders(self) -> list[Path]:
        return [self.root.with_name(f"{self.root.name}-cache"), *super().cache_folders]

    @cached_property
    def files(self) -> Files:
        """Every image in its split. Raises DataError."""
        found = list_images(self.root)
        train, val, test = (
            [path for path in found if path.startswith(name + os.sep)] for name in ("train", "val", "test")
        )
        official = bool(train and (val or test))
        if not official:
            train, val, test = found, [], []
        elif not test:
            val, test = [], val
        for option, asked, given in (("num_val", self.asked_val, val), ("num_test", self.asked_test, test)):
            if given and asked not in (None, len(given)):
                folder = self.root / given[0].split(os.sep)[0]
                raise DataError(f"data.{option}: {asked} are asked for, and {folder} has {len(given)}; leave it null")
        a_tenth = max(1, min(len(train) // 10, HELD_OUT_AT_MOST))
        num_test = 0 if test else self.asked_test or a_tenth
        num_val = 0 if val else self.asked_val or a_tenth
        if num_test + num_val >= len(train):
            raise DataError(
                f"{self.root / 'train' if official else self.root} has {len(train)} images, too few to hold out "
                f"{num_test} for test and {num_val} for val, and to have some left to learn from. Add images, or give "
                "smaller data.num_test and data.num_val"
            )
        if not test:
            test, train = self._draw(num_test, train)
        if not val:
            val, train = self._draw(num_val, train)
        return Files(train, val, test, official)

    def _draw(self, count: int, paths: list[str]) -> tuple[list[str], list[str]]:
        drawn, left = hold_out(count, len(paths), self.split_seed)
        return [paths[index] for index in drawn], [paths[index] for index in left]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(sorted({self.files.class_of(path) for paths in self.files[:3] for path in paths}))

    @property
    def num_val(self) -> int:
        return len(self.files.val)

    @property
    def num_test(self) -> int:
        return len(self.files.test)

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        train, val, test, _ = self.files
        paths = [*train, *val, *test]  # every split in one piece, so that it is a view of the whole and no copy
        images = self._images(paths)
        label_of = {name: label for label, name in enumerate(self.class_names)}
        labels = torch.tensor([label_of[self.files.class_of(path)] for path in paths])
        num_learn = len(train) + len(val)
        parts = slice(num_learn), slice(num_learn, None)
        return tuple(LabelledImages(images[part], labels[part]) for part in parts)

    def divide(self, total: int) -> tuple[slice, slice]:
        """As `files` has divided them already."""
        return slice(len(self.files.train), total), slice(len(self.files.train))

    def _images(self, paths: list[str]) -> Tensor:
        """uint8 (N, C, H, W) from the cache, which is made where there is none. Raises DataError."""
        shape = (len(paths), *self.image_shape)
        mapped = prod(shape) > self.memory_share * machine_memory()
        name = f"{self.image_shape[1]}px-{hash_of_files(self.root, paths, self.image_shape)}.npy"
        fill = partial(decode, [os.path.join(self.root, path) for path in paths], remedy=REMEDY)
        images = load_bytes(name, self.cache_folders, shape, mapped)
        if images is None and store_bytes(name, self.cache_folders, shape, fill):
            images = load_bytes(name, self.cache_folders, shape, mapped)
        if images is None and mapped:
            raise DataError(
                f"{self.root}: {shape[0]:,} images of {shape[2]}px take {prod(shape) / 1e9:.3g} GB, more than "
                f"data.memory_share={self.memory_share} of the memory, and no folder takes a file of that size "
                f"({', '.join(map(str, self.cache_folders))}). Make room there, or give a smaller data.image_size or "
                "a larger data.memory_share"
            )
        if images is None:
            fill(images := torch.empty(shape, dtype=torch.uint8))
        return images


def list_images(folder: Path) -> list[str]:
    """Image files at any depth, relative to the folder, sorted; hidden ones are left out. Raises DataError."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} can't be listed ({error.strerror}); data.root= wants a folder of images")

    found, seen = [], set()
    start = len(os.path.join(folder, ""))
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(parent)) in seen:  # a link in a circle, or to what has been listed already
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name)[start:]
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
        ]
    if not found:
        raise DataError(f"{folder} has no images ({' '.join(sorted(SUFFIXES))}); set data.root= to a folder that has")
    return sorted(found)


def hash_of_files(root: Path, paths: Sequence[str], image_shape: tuple[int, int, int]) -> str:
    """A hash of what is known of the files without reading them, for there may be millions. Raises DataError."""
    digest = hashlib.blake2b(repr(image_shape).encode(), digest_size=8)
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))
        except OSError as error:
            raise DataError(f"{root / path} was listed and can't be found any more ({error}). {REMEDY}") from error
        digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def machine_memory() -> int:
    """In bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

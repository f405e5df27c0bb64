"""Any folder of images, decoded once into a file that is mapped to memory where it would take too much of it."""

import os
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from foundation.ranges import Images, Seed, Side, Size

from .decoding import Colour, decode
from .disk_cache import load_bytes, store_bytes
from .folder_splits import SplitFiles, split_files
from .image_datamodule import DataError, ImageDataModule, LabelledImages
from .image_files import REMEDY, hash_of_files, passed_over


class Folder(ImageDataModule):
    """Images of any sizes and formats, cropped to a square and resized to `image_size` pixels.

    The class of an image is its first-level sub-folder. With train/ and test/ in the folder, or train/ and val/, the
    official test images are those, and classes their sub-folders; with all three, val is val/ (folder_splits.SPLITS
    has their other names). What is not given so is drawn by `split_seed`, from a hash of each file's path: `num_test`
    and `num_val` images, or a tenth each. What is transparent shows `background`.

    The decoded images are cached in `<root>-cache`, or in the user's cache folder where that can't be written. They
    are held in memory, or mapped from that file where they would take more than `memory_share` of the machine's.
    """

    def __init__(
        self,
        root: str,
        image_size: Side,
        channels: Literal[1, 3],
        batch_size: Size,
        seed: Seed,
        split_seed: Seed,
        device: Literal["auto", "cpu"],
        horizontal_flip: bool,
        binarize: bool,
        background: Colour,
        num_val: Annotated[Images, Ge(2)] | None,
        num_test: Annotated[Images, Ge(2)] | None,
        memory_share: Annotated[float, Interval(ge=0, le=1)],
    ) -> None:
        super().__init__(batch_size, seed, split_seed, device, horizontal_flip, binarize)
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.image_shape = (channels, image_size, image_size)
        self.background = background
        self.requested_val, self.requested_test = num_val, num_test
        self.memory_share = memory_share

    @property
    def cache_folders(self) -> list[Path]:
        return [self.root.with_name(f"{self.root.name}-cache"), *super().cache_folders]

    @cached_property
    def files(self) -> SplitFiles:
        """Every image in its split. Raises DataError."""
        return split_files(self.root, self.requested_val, self.requested_test, self.split_seed)

    @property
    def source(self) -> str:
        return str(self.root)

    @property
    def origins(self) -> dict[str, str]:
        return self.files.origins

    @property
    def passed_over(self) -> str:
        return passed_over(self.files.passed_over)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self.files.class_names

    @property
    def num_val(self) -> int:
        return len(self.files.val)

    @property
    def num_test(self) -> int:
        return len(self.files.test)

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        train, val, test = self.files[:3]
        paths = [*train, *val, *test]  # every split in one piece, so that it is a view of the images and no copy
        images = self._images(paths)
        label_of = {name: label for label, name in enumerate(self.class_names)}
        labels = torch.tensor([label_of[self.files.class_of(path)] for path in paths])
        num_trainval = len(train) + len(val)
        return (
            LabelledImages(images[:num_trainval], labels[:num_trainval]),
            LabelledImages(images[num_trainval:], labels[num_trainval:]),
        )

    def val_and_train_indices(self, total: int) -> tuple[slice, slice]:
        """In the order of `read`: train comes first."""
        num_train = len(self.files.train)
        return slice(num_train, total), slice(num_train)

    def _images(self, paths: list[str]) -> Tensor:
        """uint8 (N, C, H, W) from the cache, which is made where there is none. Raises DataError."""
        shape = (len(paths), *self.image_shape)
        mapped = prod(shape) > self.memory_share * machine_memory()
        name = f"{self.image_shape[1]}px-{hash_of_files(self.root, paths, (self.image_shape, self.background))}.npy"
        files = [os.path.join(self.root, path) for path in paths]
        fill = partial(decode, files, background=self.background, remedy=REMEDY)
        images = load_bytes(name, self.cache_folders, shape, mapped)
        if images is None and store_bytes(name, self.cache_folders, shape, fill):
            images = load_bytes(name, self.cache_folders, shape, mapped)
        if mapped and self.binarize:
            raise DataError(
                f"{self.root}: data.binarize=true needs its images in memory, and {prod(shape) / 1e9:.3g} GB are more "
                f"than data.memory_share={self.memory_share} of it. Give a larger share, or a smaller data.image_size"
            )
        if images is None and mapped:
            raise DataError(
                f"{self.root}: {shape[0]:,} images of {shape[2]}px take {prod(shape) / 1e9:.3g} GB, more than "
                f"data.memory_share={self.memory_share} of the memory, and no folder takes a file of that size "
                f"({', '.join(map(str, self.cache_folders))}). Make room there, or give a smaller data.image_size or "
                "a larger data.memory_share"
            )
        if images is None:
            images = torch.empty(shape, dtype=torch.uint8)
            fill(images)
        return images


def machine_memory() -> int:
    """In bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

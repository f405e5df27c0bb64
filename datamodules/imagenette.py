"""Imagenette (Howard 2019): ten easy classes of ImageNet, in torchvision's folder, decoded once and cached."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torchvision import datasets

from foundation.ranges import Seed, Side, Size

from .decoding import decode
from .disk_cache import load_cached, store_cached
from .image_datamodule import DataError, ImageDataModule, LabelledImages

FOLDER = "imagenette2-160"
REMEDY = f"Restore that file, or delete the folder {FOLDER} and run again to fetch it anew."
CLASSES = {  # WordNet folder: name, images in train/, images in val/
    "n01440764": ("tench", 963, 387),
    "n02102040": ("English springer", 955, 395),
    "n02979186": ("cassette player", 993, 357),
    "n03000684": ("chain saw", 858, 386),
    "n03028079": ("church", 941, 409),
    "n03394916": ("French horn", 956, 394),
    "n03417042": ("garbage truck", 961, 389),
    "n03425413": ("gas pump", 931, 419),
    "n03445777": ("golf ball", 951, 399),
    "n03888257": ("parachute", 960, 390),
}


class Imagenette(ImageDataModule):
    """8,469 / 1,000 / 3,925 colour images, cropped to a square and resized to `image_size` pixels.

    Read from `<root>/imagenette2-160/{train,val}`, downloaded if it is not there. The decoded images are
    cached in `<root>/imagenette2-160-cache`, or in the user's cache folder where that can't be written.
    """

    class_names = tuple(name for name, _, _ in CLASSES.values())
    num_test = 3925
    num_val = 1000

    def __init__(
        self,
        root: str,
        image_size: Side,
        batch_size: Size,
        seed: Seed,
        split_seed: Seed,
        device: Literal["auto", "cpu"],
        horizontal_flip: bool,
        binarize: bool,
    ) -> None:
        super().__init__(batch_size, seed, split_seed, device, horizontal_flip, binarize)
        self.root = Path(root).expanduser()
        self.image_shape = (3, image_size, image_size)

    @property
    def source(self) -> str:
        return str(self.root / FOLDER)

    @property
    def cache_folders(self) -> list[Path]:
        return [self.root / f"{FOLDER}-cache", *super().cache_folders]

    def prepare_data(self) -> None:
        """Download what is missing and count the files of every class. Raises DataError."""
        if not (self.root / FOLDER).is_dir():
            self._download()
        for column, split in enumerate(("train", "val"), start=1):
            for wordnet_id, facts in CLASSES.items():
                folder = self.root / FOLDER / split / wordnet_id
                found = len(jpegs(folder))
                if found != facts[column]:
                    raise DataError(
                        f"Imagenette: {folder} has {found} JPEG files, expected {facts[column]}. "
                        f"Delete {self.root / FOLDER} and run again to fetch it anew, or restore the files."
                    )

    def _download(self) -> None:
        try:
            datasets.Imagenette(str(self.root), size="160px", download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"Imagenette: there is no {self.root / FOLDER}, and the download failed ({error}). "
                f"Set data.root= to a folder that has {FOLDER}, or run with a network."
            ) from error

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        files = {split: list_files(self.root / FOLDER / split) for split in ("train", "val")}
        size = self.image_shape[1]
        facts = {"size": str(size), "files": hash_of_contents(path for paths in files.values() for path in paths)}
        name = f"{size}px-{facts['files']}.safetensors"
        images = load_cached(name, self.cache_folders, facts)
        if images is None:
            images = {
                split: torch.empty(len(paths), *self.image_shape, dtype=torch.uint8) for split, paths in files.items()
            }
            for split, paths in files.items():
                decode(paths, images[split], "white", REMEDY)
            store_cached(images, name, self.cache_folders, facts)
        return (
            LabelledImages(images["train"], labels_of(files["train"])),
            LabelledImages(images["val"], labels_of(files["val"])),  # the official test images
        )


def jpegs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.JPEG"))


def list_files(folder: Path) -> list[Path]:
    return [path for wordnet_id in CLASSES for path in jpegs(folder / wordnet_id)]


def labels_of(paths: list[Path]) -> Tensor:
    index = {wordnet_id: label for label, wordnet_id in enumerate(CLASSES)}
    return torch.tensor([index[path.parent.name] for path in paths])


def hash_of_contents(paths: Iterable[Path]) -> str:
    """A hash of every file's name and bytes: a changed image can't be mistaken for a cached one."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()

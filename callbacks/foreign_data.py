"""The real images of any DataModule, as scores see them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningDataModule
from torch import Tensor

from datamodules.content import content_hash
from datamodules.disk_cache import user_caches
from datamodules.image_datamodule import ImageDataModule, LabelledImages
from datamodules.pixels import not_pixels, to_uint8
from foundation.errors import UserError
from lightning_modules.observing import drawing_from
from scoring.real_images import RealImages

CONTRACT = (
    "Scores need batches of images (B, C, H, W), uint8 or floats in [0, 1], alone or first of a tuple with labels"
)


@dataclass(frozen=True)
class LoadedImages:
    """Images that were read from the loaders of a DataModule, or are at hand."""

    title: str
    class_names: tuple[str, ...]
    splits: dict[str, LabelledImages]  # train, val, test

    @property
    def num_val(self) -> int:
        return len(self.splits["val"].images)

    @property
    def num_test(self) -> int:
        return len(self.splits["test"].images)

    @property
    def cache_folders(self) -> list[Path]:
        return [cache / self.title.lower() for cache in user_caches()]

    def split(self, name: str) -> LabelledImages:
        return self.splits[name]


def real_images(datamodule: LightningDataModule) -> RealImages:
    """A data module of this project as it is; of any other the images that its three loaders give, held in memory.

    They are read here, val and test after a second setup too, as the Trainer sets it up anew; PyTorch's global
    generators stay. `class_names`, if it has them, name its labels.
    Raises UserError where it offers no such images, or others in val or test the second time.
    """
    if isinstance(datamodule, ImageDataModule):
        return datamodule
    with drawing_from(0, torch.device("cpu")):
        datamodule.prepare_data()
        splits = read_splits(datamodule, ("train", "val", "test"))
    with drawing_from(1, torch.device("cpu")):
        again = read_splits(datamodule, ("val", "test"))  # not train, whose images augmentations may change
    title = type(datamodule).__name__
    for name, split in again.items():
        if hashes_of_images(split) != hashes_of_images(splits[name]):
            raise UserError(
                f"{title}.{name}_dataloader gives other images after a second setup, so that images of {name} would be "
                "trained on. Where setup splits at random, give random_split a generator of its own, made there: "
                "generator=torch.Generator().manual_seed(0)"
            )
    return LoadedImages(title, tuple(getattr(datamodule, "class_names", ())), splits)


def read_splits(datamodule: LightningDataModule, names: Iterable[str]) -> dict[str, LabelledImages]:
    """A module set up, as the Trainer does it, and the images of its loaders."""
    datamodule.setup("fit")
    datamodule.setup("test")
    loaders = {name: f"{name}_dataloader" for name in names}
    title = type(datamodule).__name__
    return {name: gathered(getattr(datamodule, loader)(), f"{title}.{loader}") for name, loader in loaders.items()}


def hashes_of_images(split: LabelledImages) -> list[str]:
    """Equal for the same images in any order."""
    return sorted(content_hash(image) for image in split.images)


def gathered(loader: Iterable[Any] | None, source: str) -> LabelledImages:
    """All images that a loader gives in one epoch, with their labels, or zeros where it gives none."""
    images, labels = [], []
    for batch in loader or ():
        first, second = (*batch, None)[:2] if isinstance(batch, tuple | list) else (batch, None)
        images.append(as_bytes(first, source))
        is_labels = isinstance(second, Tensor) and second.shape == (len(images[-1]),)
        labels.append(cast(Tensor, second).long() if is_labels else torch.zeros(len(images[-1]), dtype=torch.long))
    if not any(map(len, images)):
        raise UserError(f"{source} gives no images. {CONTRACT}, of each split")
    return LabelledImages(torch.cat(images).cpu(), torch.cat(labels).cpu())


def as_bytes(images: Any, source: str) -> Tensor:
    """A batch as uint8."""
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise UserError(f"{source} gives {type(images).__name__}s. {CONTRACT}")
    if found := not_pixels(images):
        raise UserError(f"{source} gives {found}. {CONTRACT}")
    return images if images.dtype == torch.uint8 else to_uint8(images.float())

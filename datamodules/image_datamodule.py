"""The base of all data modules: three splits of uint8 images in memory, and loaders that gather batches by index."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from foundation.errors import ConfigError, UserError
from foundation.ranges import Seed, Size

from .content import content_hash
from .disk_cache import user_caches
from .pixels import to_unit_range


class DataError(UserError):
    """A data set is missing or damaged; the message says which file, what was expected and what to do."""


class LabelledImages(NamedTuple):
    images: Tensor  # (N, C, H, W), uint8
    labels: Tensor  # (N,), int64


class SplitHash(NamedTuple):
    images: int
    sha256: str  # of pixels and labels, in their order


class TensorImageDataset(Dataset):
    """Images in memory, on a GPU, or mapped from a file; a whole batch is gathered in one indexing operation."""

    def __init__(self, data: LabelledImages) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.images)

    def __getitems__(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        if self.data.images.is_cuda:
            index = index.pin_memory().to(self.data.images.device, non_blocking=True)  # nothing waits for the GPU
            return self.data.images[index], self.data.labels[index]
        # Copies whole images, where images[index] goes pixel by pixel: seven times as quick.
        return self.data.images.index_select(0, index), self.data.labels.index_select(0, index)


class IndexedLoader(DataLoader):
    """Gathers batches in the order of its sampler, which it asks once an epoch.

    PyTorch's own iterator takes index after index into lists, and wraps every batch for a profiler.
    """

    dataset: TensorImageDataset

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        order = torch.tensor(list(self.sampler), dtype=torch.int64)
        for index in order.split(cast(int, self.batch_size)):
            if len(index):
                yield self.dataset.__getitems__(index)


class ImageDataModule(LightningDataModule, ABC):
    """Splits, loaders and the pixel range; a data set adds `read` and its facts.

    Batches are (images, labels): uint8 (B, C, H, W) out of the loader, float32 in [0, 1] once on the device.
    *train* is to learn from, *val* to choose by, *test* to report: the official test images, where there are any.
    """

    image_shape: tuple[int, int, int]

    def __init__(
        self,
        batch_size: Size,
        seed: Seed,
        split_seed: Seed,
        device: Literal["auto", "cpu"],
        horizontal_flip: bool,
        binarize: bool,
    ) -> None:
        """`seed` orders the training images, `split_seed` says which of them are held out as val.

        `device`: where the images are while a model trains; auto is on its GPU, where they take but a part of what
        is free there.

        `horizontal_flip` mirrors training images, each at a chance of one half, whenever they are seen. `binarize`
        makes every pixel 0 or 255 by a coin that falls on 255 at a chance of its grey: of what a model trains on anew
        whenever it is seen, of whatever reads a split once, by `split_seed` (Salakhutdinov & Murray 2008; drawn anew as
        in Burda et al. 2016, arXiv:1509.00519).
        """
        super().__init__()
        self.batch_size, self.seed, self.split_seed, self.device = batch_size, seed, split_seed, device
        self.horizontal_flip, self.binarize = horizontal_flip, binarize
        self._splits: dict[str, LabelledImages] = {}
        self._trained_on: LabelledImages  # what training sees is drawn from these

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""

    @property
    @abstractmethod
    def num_val(self) -> int:
        """How many images val has."""

    @property
    @abstractmethod
    def num_test(self) -> int:
        """How many images test has."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def title(self) -> str:
        """What the images are called in a score's protocol."""
        return f"{type(self).__name__}, binarized" if self.binarize else type(self).__name__

    @property
    def source(self) -> str:
        """Where the images are from, in words."""
        return ""

    @property
    def origins(self) -> dict[str, str]:
        """By split: where its images come from, in words, where that is not always the same."""
        return {}

    @property
    def passed_over(self) -> str:
        """What else lies there that is not used, in words."""
        return ""

    @property
    def cache_folders(self) -> list[Path]:
        """Where what is computed from the images may be kept, in order of preference."""
        return [cache / type(self).__name__.lower() for cache in user_caches()]

    @abstractmethod
    def read(self) -> tuple[LabelledImages, LabelledImages]:
        """The images that train and val share, and those of test. Raises DataError."""

    def setup(self, stage: str | None = None) -> None:
        """Read and split the data, once. Raises DataError."""
        if self._splits:
            return
        trainval, test = self.read()
        val, train = self.val_and_train_indices(len(trainval.images))
        self._splits = {
            "train": LabelledImages(trainval.images[train], trainval.labels[train]),
            "val": LabelledImages(trainval.images[val], trainval.labels[val]),
            "test": test,
        }
        self._trained_on = self._splits["train"]
        if self.binarize:
            generator = torch.Generator().manual_seed(self.split_seed)
            self._splits = {
                name: LabelledImages(binarized(images, generator), labels)
                for name, (images, labels) in self._splits.items()
            }

    def val_and_train_indices(self, total: int) -> tuple[Tensor | slice, Tensor | slice]:
        """Which of the images that val and train share are val's, and which train's."""
        return hold_out(self.num_val, total, self.split_seed)

    def split(self, name: str) -> LabelledImages:
        """The images of `train`, `val` or `test`, as they are kept: uint8 (N, C, H, W).

        Of a train split that is too large to hold: a part of it, drawn once.
        """
        return self._splits[name]

    def num_images(self, split: str) -> int:
        """How many images a split has, of which `split` may give a part, where they are too many to hold."""
        return len(self.split(split).images)

    @cached_property
    def split_hashes(self) -> dict[str, SplitHash]:
        """By split, what its images are known again by."""
        splits = {name: self.split(name) for name in ("train", "val", "test")}
        return {name: hash_of(data) for name, data in splits.items()}

    @property
    def summary(self) -> str:
        """One line: how many images of how many classes are in which split, from where, and what was passed over."""
        origins = {split: f" ({origin})" for split, origin in self.origins.items()}
        counts = [f"{self.num_images(split):,} {split}{origins.get(split, '')}" for split in self._splits]
        told = f"data: {', '.join(counts)}; {self.num_classes:,} class{'es' if self.num_classes > 1 else ''}"
        told += f"; from {self.source}" if self.source else ""
        told += "; binarized" if self.binarize else ""
        return f"{told}; {self.passed_over}" if self.passed_over else told

    def training_images(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` images of train, float32 (count, C, H, W) in [0, 1], and their labels, (count,).

        They are the first ones of an order that `split_seed` alone decides. The data is prepared and read where that
        has not been done. Raises ConfigError if train has fewer.
        """
        if not self._splits:
            self.prepare_data()
            self.setup()
        images, labels = self.split("train")
        if count > len(images):
            raise ConfigError(
                f"{count:,} training images are needed at once, and {type(self).__name__} has {len(images):,} to train "
                "on; choose a smaller number"
            )
        chosen, _ = hold_out(count, len(images), self.split_seed)
        return to_unit_range(images[chosen]), labels[chosen]

    def train_dataloader(self) -> DataLoader:
        # Seeded by the epoch, which Lightning hands to it: a resumed run sees the order it would have seen.
        rank, world_size = self._rank_and_world_size
        data = TensorImageDataset(self._trained_on)
        return self._loader(data.data, DistributedSampler(data, world_size, rank, shuffle=True, seed=self.seed))

    def val_dataloader(self) -> DataLoader:
        return self._held_out_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._held_out_loader("test")

    def _held_out_loader(self, split: str) -> DataLoader:
        rank, world_size = self._rank_and_world_size
        # Not a DistributedSampler, which shows some images twice so that all processes have as many.
        return self._loader(self.split(split), range(rank, len(self.split(split).images), world_size))

    @property
    def _rank_and_world_size(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, data: LabelledImages, sampler: Sampler | Sequence[int]) -> DataLoader:
        if self.trainer and self.device == "auto" and fits(data.images, self.trainer.strategy.root_device):
            data = LabelledImages(*(tensor.to(self.trainer.strategy.root_device) for tensor in data))
        return IndexedLoader(TensorImageDataset(data), batch_size=self.batch_size, sampler=sampler)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        if self.trainer and self.trainer.training:
            images = self.as_seen_in_training(images)
        return to_unit_range(images), labels

    def as_seen_in_training(self, images: Tensor) -> Tensor:
        """uint8 images (B, C, H, W) as training sees them this time: mirrored and binarized by chance, where asked."""
        if self.horizontal_flip:
            images = mirrored_at_random(images)
        return binarized(images) if self.binarize else images


def mirrored_at_random(images: Tensor) -> Tensor:
    """Each of the images (B, C, H, W) or, at a chance of one half, its mirror image."""
    count = len(images)
    mirrored = torch.rand(count, device=images.device) < 0.5
    chosen = torch.arange(count, device=images.device) + count * mirrored
    # Copies whole images, where torch.where goes pixel by pixel: on a CPU two and a half times as quick.
    return torch.cat([images, images.flip(3)]).index_select(0, chosen)


def binarized(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """uint8 images of 0 and 255 alone, each pixel being 255 at a chance of its grey, v / 255."""
    drawn = torch.randint(255, images.shape, dtype=torch.uint8, device=images.device, generator=generator)
    return (drawn < images).to(torch.uint8) * 255


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether images take at most a quarter of a GPU's free memory: the model, and other runs, need the rest."""
    return device.type == "cuda" and images.nbytes <= torch.cuda.mem_get_info(device)[0] / 4


def hash_of(split: LabelledImages) -> SplitHash:
    content = " ".join(content_hash(tensor) for tensor in split)
    return SplitHash(len(split.images), hashlib.sha256(content.encode()).hexdigest())


def hold_out(count: int, total: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` of `total` indices, drawn by `seed`, in the order drawn; and the others, ascending."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    return order[:count], order[count:].sort().values

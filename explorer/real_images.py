"""The images that a run was trained on, where they are at hand, and which of them are nearest to another image.

Nothing is fetched.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule, LabelledImages
from datamodules.pixels import to_unit_range
from foundation.errors import ConfigError
from jobs.run_data import check_same_data

from .explored_run import ExploredRun

AT_ONCE = 2_000  # images that are compared together
TO_ENCODE = 10_000  # training images, at most, whose latents are looked at


class Neighbours(NamedTuple):
    images: Tensor  # (K, C, H, W) in [0, 1], the nearest first
    labels: list[str]  # their classes
    distances: Tensor  # (K,)


class RealImages:
    """The splits of a run's data, read when they are first asked for. Raises UserError then, where they are not there.

    `root`: where the data is, if not where the run had it.
    """

    def __init__(self, run: ExploredRun, root: str | None = None) -> None:
        self.run = run
        self.config = run.config.data.copy()
        if root is not None and "root" in self.config:
            self.config.root = root

    @cached_property
    def datamodule(self) -> ImageDataModule:
        datamodule: ImageDataModule = instantiate(self.config)
        if "root" in self.config and not Path(datamodule.source).is_dir():
            raise ConfigError(
                f"The images of this run are not at hand: there is no folder {datamodule.source}. Start the explorer "
                "with data.root=<folder> to see them."
            )
        datamodule.setup()  # without prepare_data, which would fetch them
        check_same_data(datamodule, self.run.folder)
        return datamodule

    @property
    def train(self) -> LabelledImages:
        return self.datamodule.split("train")

    def held_out(self, number: int) -> tuple[Tensor, str]:
        """One of the images that the model did not learn from, (1, C, H, W) in [0, 1], and its class.

        They are val's, counted from 0 and over again: those of test are looked at by nobody before the last score.
        """
        val = self.datamodule.split("val")
        index = number % len(val.images)
        return to_unit_range(val.images[index : index + 1]), self.class_name(int(val.labels[index]))

    def class_name(self, label: int) -> str:
        return self.datamodule.class_names[label]

    def nearest_in_pixels(self, image: Tensor, count: int) -> Neighbours:
        """The training images nearest to an image (1, C, H, W), by the root mean square of their difference."""
        parts = [
            (to_unit_range(part) - image).square().flatten(1).mean(dim=1).sqrt()
            for part in self.train.images.split(AT_ONCE)
        ]
        return self._nearest(torch.cat(parts), count)

    @cached_property
    def latents(self) -> Tensor:
        """What the model encodes training images to, float32 (N, D) on the CPU, of at most TO_ENCODE of them."""
        images, labels = self._in_drawn_order
        known = labels if self.run.class_names else None
        return self.run.model.encode(images, known).flatten(1).cpu()

    @property
    def encoded_labels(self) -> Tensor:
        """The labels of the images of `latents`, (N,)."""
        return self._in_drawn_order.labels

    @cached_property
    def _in_drawn_order(self) -> LabelledImages:
        order = torch.randperm(len(self.train.images), generator=torch.Generator().manual_seed(0))[:TO_ENCODE]
        return LabelledImages(self.train.images[order], self.train.labels[order])

    def nearest_in_latents(self, z: Tensor, count: int) -> Neighbours:
        """The training images whose latents are nearest to z, (1, D); of codes, those with most in common.

        Each component counts in its own standard deviations. The distance is a mean over components, as that in pixels.
        """
        z = z.flatten(1).cpu()
        if self.run.model.module.num_codes is not None:
            return self._nearest((self.latents != z).float().mean(dim=1), count, self._in_drawn_order)
        deviation = self.latents.std(dim=0).clamp_min(1e-6)
        distances = ((self.latents - z) / deviation).square().mean(dim=1).sqrt()
        return self._nearest(distances, count, self._in_drawn_order)

    def _nearest(self, distances: Tensor, count: int, among: LabelledImages | None = None) -> Neighbours:
        images, labels = among or self.train
        found = distances.topk(min(count, len(distances)), largest=False)
        names = [self.class_name(int(labels[index])) for index in found.indices]
        return Neighbours(to_unit_range(images[found.indices]), names, found.values)

"""Grids of generated images: one from latents that never change, to see progress, one from fresh ones."""

import torch

from datamodules.image_datamodule import ImageDataModule
from foundation.ranges import Seed, Tiles
from lightning_modules.generative_model import GenerativeModel
from run_folder.pictures import FIXED

from .picture_callback import PictureCallback, names_of_labels
from .sheets import Block, Sheet


class SampleGrid(PictureCallback):
    """Draws `columns` x `rows` images twice: `samples_fixed` and `samples_fresh`.

    Of a model that knows labels, each column shows one class.
    """

    def __init__(self, seed: Seed, columns: Tiles, rows: Tiles) -> None:
        super().__init__(seed)
        self.columns, self.rows = columns, rows

    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Sheet]:
        count, labels, names = self.columns * self.rows, None, []
        if model.num_classes is not None:  # a column a class
            labels = torch.arange(count, device=model.device) % self.columns % model.num_classes
            names = names_of_labels(labels[: self.columns].tolist(), datamodule)
        fixed = model.decode(model.sample_latents(count, labels))
        torch.manual_seed(self.seed + 1 + model.images_seen)  # other latents at every point of the run
        fresh = model.decode(model.sample_latents(count, labels))
        by_class = ", a column a class" if names else ""
        return {
            FIXED: Sheet(f"Samples, latents fixed{by_class}", [Block(fixed, self.columns, column_labels=names)]),
            "samples_fresh": Sheet(
                f"Samples, latents drawn anew{by_class}", [Block(fresh, self.columns, column_labels=names)]
            ),
        }

"""Held-out images and what a model that encodes makes of them, one row under the other."""

import torch
from lightning import LightningDataModule
from torch import Tensor

from lightning_modules.generative_model import GenerativeModel

from .pictures import PictureCallback, tile


class ReconstructionGrid(PictureCallback):
    """Draws `rows` rows of val images, each with its reconstructions below; nothing for models without `encode`."""

    def __init__(self, every_n_epochs: int, seed: int, columns: int, rows: int) -> None:
        super().__init__(every_n_epochs, seed)
        self.columns, self.rows = columns, rows

    def draw(self, model: GenerativeModel, datamodule: LightningDataModule) -> dict[str, Tensor]:
        if not hasattr(model, "encode"):
            return {}
        originals = datamodule.split("val").images[: self.columns * self.rows].to(model.device) / 255
        reconstructions = model.decode(model.encode(originals))
        pairs = zip(originals.split(self.columns), reconstructions.split(self.columns), strict=True)
        return {"reconstructions": tile(torch.cat([row for pair in pairs for row in pair]), self.columns)}

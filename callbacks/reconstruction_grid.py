"""Held-out images and what a model that encodes makes of them, one row under the other."""

from typing import Annotated

from annotated_types import Ge
from lightning import LightningDataModule
from torch import Tensor

from lightning_modules.generative_model import GenerativeModel

from .picture_callback import PictureCallback
from .pictures import row_pairs


class ReconstructionGrid(PictureCallback):
    """Draws `rows` rows of val images, each with its reconstructions below; nothing for models without `encode`."""

    def __init__(
        self, seed: Annotated[int, Ge(0)], columns: Annotated[int, Ge(1)], rows: Annotated[int, Ge(1)]
    ) -> None:
        super().__init__(seed)
        self.columns, self.rows = columns, rows

    def draw(self, model: GenerativeModel, datamodule: LightningDataModule) -> dict[str, Tensor]:
        if not hasattr(model, "encode"):
            return {}
        originals = datamodule.split("val").images[: self.columns * self.rows].to(model.device) / 255
        reconstructions = model.decode(model.encode(originals))
        return {"reconstructions": row_pairs(originals, reconstructions, self.columns)}

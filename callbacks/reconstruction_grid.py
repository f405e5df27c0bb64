"""Held-out images and what a model that encodes makes of them, one row under the other."""

from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_unit_range
from foundation.ranges import Seed, Tiles
from lightning_modules.generative_model import Encodes, GenerativeModel
from lightning_modules.values import Batch

from .picture_callback import PictureCallback
from .sheets import Block, Sheet, row_pairs


class ReconstructionGrid(PictureCallback):
    """Draws `rows` rows of val images, each with its reconstructions below; nothing for models that don't encode."""

    def __init__(self, seed: Seed, columns: Tiles, rows: Tiles) -> None:
        super().__init__(seed)
        self.columns, self.rows = columns, rows

    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Sheet]:
        if not isinstance(model, Encodes):
            return {}
        images, labels = datamodule.split("val")
        shown = slice(self.columns * self.rows)
        batch = Batch(to_unit_range(images[shown].to(model.device)), labels[shown].to(model.device))
        reconstructions = model.decode(model.encode(batch))
        columns = min(self.columns, len(batch.images))
        pairs = row_pairs(batch.images, reconstructions, columns)
        names = ["real", "reconstruction"] * (len(pairs) // columns // 2)
        block = Block(pairs, columns, row_labels=names)
        return {"reconstructions": Sheet("Images of val, and their reconstructions", [block])}

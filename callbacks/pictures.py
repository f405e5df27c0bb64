"""From images to pictures: tiles, PNG files, and the dashboard."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from lightning_modules.generative_model import GenerativeModel

from .observing import is_due, observing
from .run_folder import PICTURES, write_atomically

SMALLEST_TILE = 48  # pixels; smaller images are enlarged by a whole factor, so that they can be seen


def to_uint8(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to uint8, rounded to the nearest: the one way in which pictures and scores see them."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] to one picture, uint8 (3, H', W'), row by row."""
    factor = -(-SMALLEST_TILE // images.shape[-2])
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return to_uint8(make_grid(enlarged.float().cpu(), nrow=columns, padding=2, pad_value=1.0))


def save_png(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 (C, H, W), as a PNG file."""
    pixels = picture.permute(1, 2, 0).squeeze(2).numpy()  # (H, W, 3), or (H, W) in grey
    write_atomically(path, lambda partial: Image.fromarray(pixels).save(partial))


class PictureCallback(Callback, ABC):
    """Draws pictures of any GenerativeModel every few epochs, and once more of the model that is tested.

    Everything drawn depends on `seed` and the weights alone, and leaves the training as it was.
    """

    def __init__(self, every_n_epochs: int, seed: int) -> None:
        self.every_n_epochs, self.seed = every_n_epochs, seed

    @abstractmethod
    def draw(self, model: GenerativeModel, datamodule: LightningDataModule) -> dict[str, Tensor]:
        """Pictures by name, uint8 (3, H, W)."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        if is_due(trainer, self.every_n_epochs):
            self._show(trainer, pl_module, f"epoch_{trainer.current_epoch + 1:04d}")

    def on_test_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        self._show(trainer, pl_module, "final")

    def _show(self, trainer: Trainer, model: GenerativeModel, moment: str) -> None:
        if not trainer.is_global_zero:
            return
        with observing(model, self.seed):
            pictures = self.draw(model, trainer.datamodule)
        for name, picture in pictures.items():
            save_png(Path(trainer.default_root_dir) / PICTURES / f"{name}_{moment}.png", picture)
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(name, picture, model.images_seen)

"""From images to pictures: tiles, PNG files, and the dashboard."""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from lightning import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from datamodules.pixels import to_uint8
from foundation.atomic import write_atomically
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing
from run_folder.layout import PICTURES

from .cadence import is_due

SMALLEST_TILE = 48  # pixels; smaller images are enlarged by a whole factor, so that they can be seen


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] to one picture, uint8 (3, H', W'), row by row."""
    factor = -(-SMALLEST_TILE // images.shape[-2])
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return to_uint8(make_grid(enlarged.float().cpu(), nrow=columns, padding=2, pad_value=1.0))


def row_pairs(above: Tensor, below: Tensor, columns: int) -> Tensor:
    """Two sets of images (B, C, H, W) in [0, 1], each row of the one over its row of the other: uint8 (3, H', W')."""
    rows = zip(above.split(columns), below.split(columns), strict=True)
    return tile(torch.cat([row for pair in rows for row in pair]), columns)


def save_png(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 (C, H, W), as a PNG file."""
    pixels = picture.permute(1, 2, 0).squeeze(2).numpy()  # (H, W, 3), or (H, W) in grey
    write_atomically(path, lambda partial: Image.fromarray(pixels).save(partial))


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file."""
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=110))


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
            show_picture(trainer, model, name, moment, picture)


def show_picture(trainer: Trainer, model: GenerativeModel, name: str, moment: str, picture: Tensor) -> None:
    """Put a picture, uint8 (3, H, W), into the run folder as `<name>_<moment>.png` and onto the dashboard."""
    if not trainer.is_global_zero:
        return
    save_png(Path(trainer.default_root_dir) / PICTURES / f"{name}_{moment}.png", picture)
    for dashboard in dashboards(trainer):
        dashboard.add_image(name, picture, model.images_seen)


def show_figure(trainer: Trainer, model: ImageModel, name: str, figure: Figure) -> None:
    """Put a figure into the run folder as `<name>.png` and onto the dashboard."""
    if not trainer.is_global_zero:
        return
    save_figure(Path(trainer.default_root_dir) / PICTURES / f"{name}.png", figure)
    for dashboard in dashboards(trainer):
        dashboard.add_figure(name, figure, model.images_seen)


def dashboards(trainer: Trainer) -> list[SummaryWriter]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def draw_classes(shares: dict[str, dict[str, float]]) -> Figure:
    """Bars of the share of each class, for every source in {source: {class: share}}."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for place, (source, classes) in enumerate(shares.items()):
        offsets = [index + place * width for index in range(len(classes))]
        axes.bar(offsets, list(classes.values()), width, label=source)
    middle = (len(shares) - 1) * width / 2
    axes.set_xticks([index + middle for index in range(len(classes))], list(classes), rotation=30, ha="right")
    axes.set_ylabel("share of the images")
    axes.set_title("Classes, as the reference classifier sees them")
    axes.legend(frameon=False)
    return figure

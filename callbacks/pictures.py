"""Pictures: images in tiles, as PNG files and in the trackers."""

from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from datamodules.pixels import to_uint8
from foundation.atomic import write_atomically
from lightning_modules.foreign import clock_of
from run_folder.layout import PICTURES
from trackers.pictures import log_picture

SMALLEST_TILE = 48  # pixels; smaller images are enlarged by a whole factor, so that they can be seen


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] to one picture, uint8 (3, H', W'), row by row."""
    factor = -(-SMALLEST_TILE // images.shape[-2])
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    return to_uint8(make_grid(enlarged.float().cpu(), nrow=columns, padding=2, pad_value=1.0))


def row_pairs(above: Tensor, below: Tensor, columns: int) -> Tensor:
    """Two sets of images (B, C, H, W) in [0, 1], each row of the one over its row of the other: uint8 (3, H', W').

    A last row that is not full is filled up with white.
    """
    columns = min(columns, len(above))
    white = torch.ones_like(above[:1]).expand(-len(above) % columns, -1, -1, -1)
    rows = [torch.cat([images, white.to(images)]).split(columns) for images in (above, below)]
    return tile(torch.cat([row for pair in zip(*rows, strict=True) for row in pair]), columns)


def save_png(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 (C, H, W), as a PNG file."""
    pixels = picture.permute(1, 2, 0).squeeze(2).numpy()  # (H, W, 3), or (H, W) in grey
    write_atomically(path, lambda partial: Image.fromarray(pixels).save(partial))


def show_picture(trainer: Trainer, module: LightningModule, name: str, stage: str, picture: Tensor) -> None:
    """Put a picture, uint8 (3, H, W), into the run folder as `<name>_<stage>.png` and to the trackers."""
    if not trainer.is_global_zero:
        return
    path = Path(trainer.default_root_dir) / PICTURES / f"{name}_{stage}.png"
    save_png(path, picture)
    log_picture(trainer.loggers, name, path, clock_of(module))

"""Generated images as files, for other programs: an .npz or a folder of PNG files."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from callbacks.pictures import save_png
from datamodules.pixels import to_uint8
from foundation.atomic import write_atomically
from foundation.errors import ConfigError
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.observing import observing

from .memory import check_images_fit

BATCH_SIZE = 500


def check_out(out: str | None) -> Path | None:
    """Where samples go: an .npz file or a folder that is not there yet. Raises ConfigError."""
    if out is None:
        return None
    path = Path(out)
    if path.suffix != ".npz" and path.suffix[1:].isalpha():
        raise ConfigError(f"out: expected a name that ends in .npz, or a folder, got {out}")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ConfigError(f"out: {out} exists already and is left as it is; give another name")
    return path


def write_samples(model: GenerativeModel, count: int, seed: int, out: Path) -> None:
    """Write `count` generated images as uint8: one .npz, (N, H, W, C) under arr_0, or a PNG file each.

    An .npz of a model that knows labels has those under arr_1, (N,). Raises ConfigError for more than memory holds.
    """
    check_images_fit(count, model.image_shape, "samples")
    model.eval()
    with observing(model, seed):
        sizes = [min(BATCH_SIZE, count - done) for done in range(0, count, BATCH_SIZE)]
        parts = [model.sample_latents(size) for size in sizes]
        images = torch.cat([to_uint8(model.decode(latents)).cpu() for latents in parts])
    if out.suffix == ".npz":
        arrays = [images.permute(0, 2, 3, 1).contiguous().numpy()]
        labels = [part.labels for part in parts if part.labels is not None]
        if labels:
            arrays.append(torch.cat(labels).cpu().numpy())
        write_atomically(out, lambda partial: np.savez(partial, *arrays))
    else:
        write_folder(images, out)
    print(f"{count:,} images written to {out}")


def write_folder(images: Tensor, out: Path) -> None:
    """Write images (N, C, H, W) as PNG files. Where that fails none are left: they would be in a second try's way."""
    paths = [out / f"{index:06d}.png" for index in range(len(images))]
    try:
        for path, image in zip(paths, images, strict=True):
            save_png(path, image)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise

"""Generated images as files, for other programs: an .npz or a folder of PNG files. And latents from files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from callbacks.pictures import save_png
from datamodules.pixels import to_uint8
from foundation.atomic import write_atomically
from foundation.errors import ConfigError
from foundation.progress import track
from lightning_modules.values import Latents
from scoring.given_arrays import UNREADABLE, check_fits, check_size, read_arrays

from .trained_model import AT_ONCE, TrainedModel


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


class GivenLatents(NamedTuple):
    z: np.ndarray  # (N, …)
    labels: np.ndarray | None  # (N,)


def read_latents(path: Path) -> GivenLatents:
    """Latents in a file, and their labels where it has some. Raises ConfigError where it is none.

    An .npy of latents (N, …), or an .npz that has them under arr_0 and labels, (N,), under arr_1.
    """
    if path.suffix not in (".npy", ".npz") or not path.is_file():
        raise ConfigError(f"latents: expected an .npy or .npz file, and {path} is none")
    if path.suffix == ".npz":
        check_size(path, "latents")
        arrays = read_arrays(path, "latents")
    else:
        arrays = {"arr_0": read_array(path)}
    if "arr_0" not in arrays or not arrays.keys() <= {"arr_0", "arr_1"}:
        found = ", ".join(arrays) or "no array of numbers"
        raise ConfigError(f"latents: expected arr_0, and arr_1 for labels, in {path}, which has {found}")
    for array in arrays.values():
        if array.dtype.kind not in "iuf":
            raise ConfigError(f"latents: {path} has an array of {array.dtype}, expected numbers")
        if array.ndim == 0:
            raise ConfigError(f"latents: {path} holds a single number, expected an array of them, (N, …)")
    read = {name: np.array(array) for name, array in arrays.items()}  # an .npy was only mapped until here
    return GivenLatents(read["arr_0"], read.get("arr_1"))


def read_array(path: Path) -> np.ndarray:
    """The array in an .npy, of which nothing is read yet. Raises ConfigError where it would fill the memory."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise ConfigError(f"latents: {path} can't be read as an array of numbers ({error})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ConfigError(f"latents: {path} is an .npz by its content; rename it")
    check_fits(array.nbytes, f"latents: {path} has {array.nbytes / 1e9:,.3g} GB of numbers")
    return array


def write_samples(model: TrainedModel, latents: Latents, out: Path) -> None:
    """Write the images of latents as uint8: one .npz, (N, H, W, C) under arr_0, or a PNG file each.

    An .npz of a model that knows labels has those under arr_1, (N,).
    """
    parts = list(latents.split(AT_ONCE))
    images = torch.cat([to_uint8(model.decode(part)).cpu() for part in track(parts, len(parts), "samples", "batches")])
    if out.suffix == ".npz":
        arrays = [images.permute(0, 2, 3, 1).contiguous().numpy()]
        if latents.labels is not None:
            arrays.append(latents.labels.cpu().numpy())
        write_atomically(out, lambda partial: np.savez(partial, *arrays))
    else:
        write_folder(images, out)
    print(f"{len(images):,} images written to {out}")


def write_folder(images: Tensor, out: Path) -> None:
    """Write images (N, C, H, W) as PNG files. Where that fails none are left: they would be in a second try's way."""
    paths = [out / f"{index:06d}.png" for index in range(len(images))]
    try:
        for path, image in track(zip(paths, images, strict=True), len(paths), "writing", "files"):
            save_png(path, image)
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise

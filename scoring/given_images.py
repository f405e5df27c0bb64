"""Images that some other program made, from the two forms in which samples are exchanged."""

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foundation.errors import ConfigError

MODES = {1: ("L", "1"), 3: ("RGB", "P", "L")}  # of files, that become grey or colour images without loss
SUFFIXES = {".png", ".jpg", ".jpeg"}


def read_images(path: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """An .npz, uint8 (N, H, W, C) under arr_0, or a folder of PNG or JPEG files, in order of their names.

    uint8 (N, C, H, W). Raises ConfigError if they can't be read, or are not of the given shape.
    """
    if path.is_dir():
        return read_folder(path, image_shape)
    if path.suffix != ".npz" or not path.is_file():
        raise ConfigError(f"images: expected an .npz file or a folder of PNG or JPEG files, and {path} is neither")
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive["arr_0"]
    except (KeyError, OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise ConfigError(f"images: {path} can't be read as an .npz with images under arr_0 ({error})") from error
    channels, height, width = image_shape
    if channels == 1 and array.ndim == 3:
        array = array[..., None]
    if array.dtype != np.uint8 or array.shape[1:] != (height, width, channels):
        raise ConfigError(
            f"images: {path} holds {array.dtype} {array.shape}, expected uint8 (N, {height}, {width}, {channels})"
        )
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def read_folder(folder: Path, image_shape: tuple[int, int, int]) -> Tensor:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(f"images: {folder} has no PNG or JPEG files")
    return torch.stack([read_file(path, image_shape) for path in files])


def read_file(path: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """One file to uint8 (C, H, W)."""
    channels, height, width = image_shape
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError) as error:
        raise ConfigError(f"images: {path} is no readable image ({error})") from error
    if mode not in MODES[channels]:
        raise ConfigError(f"images: {path} is of mode {mode}, expected {' or '.join(MODES[channels])}")
    if pixels.shape[:2] != (height, width):
        raise ConfigError(f"images: {path} is {pixels.shape[1]}x{pixels.shape[0]}, expected {width}x{height}")
    return torch.from_numpy(pixels).view(height, width, channels).permute(2, 0, 1)

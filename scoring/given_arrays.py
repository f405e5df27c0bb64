"""Samples in an .npz of any program, where it is plain what they mean."""

import zlib
from contextlib import suppress
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from torch import Tensor

from datamodules.folder import machine_memory
from datamodules.pixels import to_uint8
from foundation.errors import ConfigError

LARGEST_SHARE = 0.5  # of the memory, that the arrays of an archive may take
UNREADABLE = (
    KeyError, OSError, ValueError, TypeError, AttributeError, EOFError, MemoryError, NotImplementedError, RuntimeError,
    OverflowError, BadZipFile, zlib.error, SyntaxError, TokenError,  # the last two of a header, which is Python's text
)  # fmt: skip
CUSTOMARY = "arr_0"  # what numpy calls the only array that it is given
# How far real samples reach, so that a range is not mistaken for a smaller one.
REACHES_BELOW = -0.5  # in [-1, 1]
REACHES_ABOVE = 128  # in [0, 255]
WANTED = "Give uint8 (N, H, W, C) under arr_0, or floats in [0, 1]"


def read_archive(path: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """Images of the given shape, uint8 (N, C, H, W), from an .npz. Raises ConfigError where they are not plain.

    (N, H, W, C), (N, C, H, W) or, of one channel, (N, H, W), where colours may be three equal channels of grey; whole
    numbers from 0 to 255, or floats in [0, 1], [-1, 1] or [0, 255]; under arr_0, or as the only array of such a form.
    """
    check_size(path, "images")
    arrays = read_arrays(path, "images")
    found = ", ".join(f"{key}: {array.dtype} {array.shape}" for key, array in arrays.items()) or "nothing"
    fitting = {
        key: images for key, array in arrays.items() if (images := channels_first(array, image_shape)) is not None
    }
    if not fitting or (len(fitting) > 1 and CUSTOMARY not in fitting):
        channels, height, width = image_shape
        number = "several arrays" if fitting else "no array"
        raise ConfigError(
            f"images: {path} has {number} of the form (N, {height}, {width}, {channels}) or "
            f"(N, {channels}, {height}, {width}); it holds {found}. {WANTED}"
        )
    key = CUSTOMARY if CUSTOMARY in fitting else next(iter(fitting))
    images, meaning = bytes_of(fitting[key], f"images: {path} holds {found}")
    if (key, meaning) != (CUSTOMARY, "uint8"):
        print(f"images: {path} is read as {meaning}, under {key}")
    in_channels = as_image_channels(images, image_shape[0])
    if in_channels is None:
        raise ConfigError(f"images: {path} holds {found}, images in colour, expected grey")
    return in_channels.contiguous()


def check_size(path: Path, setting: str) -> None:
    """Raise ConfigError where an archive, unpacked, would take more of the memory than is good; nothing is unpacked.

    `setting`: what names the file, for messages.
    """
    try:
        with ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, NotImplementedError, BadZipFile) as error:
        raise ConfigError(f"{setting}: {path} can't be read as an .npz of arrays of numbers ({error})") from error
    check_fits(size, f"{setting}: {path} has {size / 1e9:,.3g} GB of arrays once it is unpacked")


def check_fits(size: int, what: str) -> None:
    """Raise ConfigError, which begins with `what`, where so many bytes are more of the memory than is good."""
    limit = LARGEST_SHARE * machine_memory()
    if size > limit:
        raise ConfigError(f"{what}, more than half of the memory, {limit / 1e9:,.3g} GB. Give fewer of them")


def read_arrays(path: Path, setting: str) -> dict[str, np.ndarray]:
    """Every array of numbers in an archive. Raises ConfigError."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {}
            for key in archive.files:
                with suppress(ValueError):  # of Python's objects, which are not unpickled
                    arrays[key] = archive[key]
            return arrays
    except UNREADABLE as error:
        raise ConfigError(f"{setting}: {path} can't be read as an .npz of arrays of numbers ({error})") from error


def channels_first(array: np.ndarray, image_shape: tuple[int, int, int]) -> Tensor | None:
    """An array as (N, 1 or 3, H, W), if it is one of images of this height and width; else None."""
    _, height, width = image_shape
    if array.dtype.kind not in "buif" or array.ndim not in (3, 4) or len(array) == 0:
        return None
    if array.ndim == 3:
        array = array[..., None]
    if array.shape[1:3] == (height, width) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[2:] != (height, width) or array.shape[1] not in (1, 3):
        return None
    if array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    return torch.from_numpy(
        array.astype(array.dtype.newbyteorder("="), copy=False)
    )  # PyTorch knows no other order of bytes


def bytes_of(images: Tensor, what: str) -> tuple[Tensor, str]:
    """Images as uint8, and what their numbers were taken for. Raises ConfigError, which begins with `what`."""
    if images.dtype == torch.uint8:
        return images, "uint8"
    if images.dtype == torch.bool:
        return images.to(torch.uint8) * 255, "black and white"
    low, high = images.min().item(), images.max().item()
    if images.is_floating_point() and low >= 0 and high <= 1:
        return to_uint8(images.float()), "floats in [0, 1]"
    if images.is_floating_point() and -1 <= low <= REACHES_BELOW and high <= 1:
        return to_uint8((images.float() + 1) / 2), "floats in [-1, 1]"
    if low >= 0 and REACHES_ABOVE <= high <= 255:
        return to_uint8(images.float() / 255), "numbers in [0, 255]"
    raise ConfigError(
        f"{what}, from {low:.4g} to {high:.4g}: it is not plain which numbers are black and white. {WANTED}"
    )


def as_image_channels(images: Tensor, channels: int) -> Tensor | None:
    """Images (N, 1 or 3, H, W) in so many channels; None for colours where grey is wanted."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    is_grey = (images == images[:, :1]).all()
    return images[:, :1] if is_grey else None

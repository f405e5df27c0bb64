"""Decoding of image files as they are meant to be seen: upright, over a background where they are transparent."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from torch import Tensor

from foundation.progress import task

from .image_datamodule import DataError

MODES = {1: "L", 3: "RGB"}
FILES_PER_TASK = 32  # a task for each of millions of files would take gigabytes
MAX_NAMED = 20  # broken files, before the others are left unread


def _known_colour(name: str) -> str:
    try:
        opaque = len(ImageColor.getrgb(name)) == 3
    except ValueError:
        opaque = False
    if not opaque:
        raise PydanticCustomError("colour", "a colour, such as white or '#ff8000'")
    return name


Colour = Annotated[str, AfterValidator(_known_colour)]


def decode(paths: Sequence[Path | str], images: Tensor, background: Colour, remedy: str) -> None:
    """Fill uint8 (N, C, size, size), in memory or mapped, with the images of N files.

    Raises DataError, which names the broken files and ends with `remedy`.
    """
    channels, size = images.shape[1:3]

    def fill(index: int) -> None:
        images[index] = decode_file(paths[index], size, channels, background)

    for_each(len(paths), fill, f"decoding to {size}px", remedy)


def for_each(
    count: int,
    read: Callable[[int], None],
    title: str,
    remedy: str,
    at_once: int = FILES_PER_TASK,
    unit: str = "images",
) -> None:
    """Call `read` with every index of `count` files, on all cores, of which each takes `at_once` at a time.

    Raises one DataError for all that were raised, naming at most MAX_NAMED files.
    """
    faults: dict[int, DataError] = {}

    def read_chunk(start: int) -> int:
        chunk = range(start, min(start + at_once, count))
        for index in chunk:
            if len(faults) >= MAX_NAMED:
                break
            try:
                read(index)
            except DataError as error:
                faults[index] = error
        return len(chunk)

    # Threads suffice: Pillow decodes and resizes outside the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool, task(title, count, unit) as progress:
        for done in pool.map(read_chunk, range(0, count, at_once)):
            progress.advance(done)
    if faults:
        raise DataError(_all_faults([faults[index] for index in sorted(faults)], remedy)) from min(faults.items())[1]


def _all_faults(faults: list[DataError], remedy: str) -> str:
    if len(faults) == 1:
        return f"{faults[0]}. {remedy}"
    number = f"{MAX_NAMED} or more" if len(faults) >= MAX_NAMED else str(len(faults))
    return "\n  ".join([f"{number} files can't be used:", *map(str, faults[:MAX_NAMED]), remedy])


def decode_file(path: Path | str, size: int, channels: int, background: Colour) -> Tensor:
    """The largest central square of one file, resized with antialiasing, as uint8 (C, size, size). Raises DataError."""
    return squared(read_image(path, channels, background), size)


def squared(image: Image.Image, size: int) -> Tensor:
    """The largest central square, resized with antialiasing, as uint8 (C, size, size)."""
    return to_tensor(ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS))


def read_image(path: Path | str, channels: int, background: Colour) -> Image.Image:
    """One file, its first frame, of any size, in grey or colour. Raises DataError."""
    try:
        with Image.open(path) as image:
            _check_can_be_decoded(image)
            return as_seen(image, channels, background)
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone, which was there when the files were listed") from error
    except Exception as error:  # each of Pillow's formats raises errors of its own kinds
        raise DataError(f"{path} is no readable image ({error})") from error


def as_seen(image: Image.Image, channels: int, background: Colour) -> Image.Image:
    """An opened image as it is meant to be seen, in grey or colour: upright, over the background."""
    return over(ImageOps.exif_transpose(image), background).convert(MODES[channels])


def _check_can_be_decoded(image: Image.Image) -> None:
    """Raise ValueError for what Pillow would clip, or what could take all of the memory; only the header is read."""
    limit, pixels = Image.MAX_IMAGE_PIXELS, image.width * image.height
    if limit is not None and pixels > limit:  # Pillow itself warns, up to twice as many
        raise ValueError(f"it has {pixels:,} pixels, more than {limit:,}: scale it down")
    if image.mode.startswith(("I", "F")):  # most would become white
        raise ValueError(f"its pixels have more than 8 bits, mode {image.mode}")


def over(image: Image.Image, background: Colour) -> Image.Image:
    """An image with transparency composited over a colour; any other as it is."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """A grey or colour image as uint8 (C, H, W)."""
    return torch.from_numpy(np.array(image)).view(image.height, image.width, -1).permute(2, 0, 1)

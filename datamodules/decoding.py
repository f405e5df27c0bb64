"""Decoding of image files to tensors: the largest central square of each, resized with antialiasing, on all cores."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from .image_datamodule import DataError

MODES = {1: "L", 3: "RGB"}
FILES_PER_TASK = 32  # a task for each of millions of files would take gigabytes


def decode(paths: Sequence[Path | str], images: Tensor, remedy: str) -> None:
    """Fill uint8 (N, C, size, size), in memory or mapped, with the images of N files.

    Raises DataError, which names the file and ends with `remedy`.
    """
    channels, size = images.shape[1:3]

    def decode_chunk(start: int) -> int:
        chunk = paths[start : start + FILES_PER_TASK]
        for index, path in enumerate(chunk, start):
            images[index] = decode_file(path, size, channels, remedy)
        return len(chunk)

    # Threads suffice: Pillow decodes and resizes outside the interpreter's lock.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(paths), desc=f"Decoding to {size}px", unit="images", disable=None) as progress,  # not in a log
    ):
        for count in pool.map(decode_chunk, range(0, len(paths), FILES_PER_TASK)):
            progress.update(count)


def decode_file(path: Path | str, size: int, channels: int, remedy: str) -> Tensor:
    """One file, its first frame, to uint8 (C, size, size). Raises DataError."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip them, most of them to white
                raise ValueError(f"its pixels have more than 8 bits, mode {image.mode}")
            square = ImageOps.fit(image.convert(MODES[channels]), (size, size), method=Image.Resampling.LANCZOS)
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone, which was there when the files were listed. {remedy}") from error
    except Exception as error:  # each of Pillow's formats raises errors of its own kinds
        raise DataError(f"{path} is no readable image ({error}). {remedy}") from error
    return torch.from_numpy(np.array(square)).view(size, size, channels).permute(2, 0, 1)

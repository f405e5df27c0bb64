"""MNIST's file format, IDX: a header of type and sizes, then one byte for each pixel or label."""

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from .image_datamodule import DataError

UNSIGNED_BYTE = 8  # the format's code for the type
REMEDY = "Delete that file and run again to fetch it anew, or copy it from a good source."


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The uint8 tensor of this shape in an IDX file. Raises DataError if the file holds anything else."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}). {REMEDY}") from error
    if fault := _fault_in_form(content, shape):
        raise DataError(f"{path} is damaged: {fault}. {REMEDY}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=_header_length(shape)).view(shape)


def _fault_in_form(content: bytes, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the content of a file that should hold a tensor of this shape; None: nothing."""
    magic = bytes([0, 0, UNSIGNED_BYTE, len(shape)])
    if content[:4] != magic:
        return f"it begins with the bytes {content[:4].hex(' ') or '(none)'}, expected {magic.hex(' ')}"
    header = content[: _header_length(shape)]
    sizes = tuple(int.from_bytes(header[start : start + 4], "big") for start in range(4, len(header), 4))
    if sizes != shape:
        return f"its header says {_by(sizes)}, expected {_by(shape)}"
    length = len(header) + prod(shape)
    if len(content) != length:
        return f"it has {len(content):,} bytes, expected {length:,}"
    return None


def _header_length(shape: tuple[int, ...]) -> int:
    return 4 + 4 * len(shape)


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(f"{size:,}" for size in sizes)

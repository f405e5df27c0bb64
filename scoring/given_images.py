"""Images that some other program made, from the two forms in which samples are exchanged: an .npz, or files."""

from pathlib import Path

import torch
from torch import Tensor

from datamodules.decoding import Colour, for_each, read_image, to_tensor
from datamodules.image_datamodule import DataError
from datamodules.image_files import REMEDY, list_images, no_images, passed_over
from foundation.errors import ConfigError

from .given_arrays import as_image_channels, read_archive


def read_images(path: Path, image_shape: tuple[int, int, int], background: Colour) -> Tensor:
    """Images of the given shape from an .npz (read_archive says of which forms), or a folder of image files.

    uint8 (N, C, H, W), files in order of their names. Raises UserError if they can't be read, or are of another shape.
    """
    if path.is_dir():
        return read_folder(path, image_shape, background)
    if path.suffix.lower() != ".npz" or not path.is_file():
        raise ConfigError(f"images: expected an .npz file or a folder of image files, and {path} is neither")
    return read_archive(path, image_shape)


def read_folder(folder: Path, image_shape: tuple[int, int, int], background: Colour) -> Tensor:
    """Every image file at any depth; what is passed over is printed."""
    listing = list_images(folder, "images")
    if not listing.paths:
        raise no_images(folder, listing, "images")
    if listing.passed_over:
        print(f"images: {len(listing.paths):,} in {folder}; {passed_over(listing.passed_over)}")
    images = torch.empty(len(listing.paths), *image_shape, dtype=torch.uint8)

    def fill(index: int) -> None:
        images[index] = read_file(folder / listing.paths[index], image_shape, background)

    for_each(len(listing.paths), fill, "reading images", REMEDY)
    return images


def read_file(path: Path, image_shape: tuple[int, int, int], background: Colour) -> Tensor:
    """One file to uint8 (C, H, W). Raises DataError."""
    pixels = to_tensor(read_image(path, 3, background))
    if pixels.shape[1:] != image_shape[1:]:
        _, height, width = image_shape
        raise DataError(f"{path} is {pixels.shape[2]}x{pixels.shape[1]}, expected {width}x{height}: resize it")
    image = as_image_channels(pixels.unsqueeze(0), image_shape[0])
    if image is None:
        raise DataError(f"{path} is in colour, expected grey")
    return image[0]

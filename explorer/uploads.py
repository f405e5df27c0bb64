"""An image file of a person's own, as a model of images of another size and colour takes it."""

from pathlib import Path

from torch import Tensor

from datamodules.decoding import decode_file
from datamodules.image_datamodule import DataError
from datamodules.pixels import to_unit_range
from foundation.errors import UserError


def image_of_file(path: Path, image_shape: tuple[int, ...], inverts: bool) -> Tensor:
    """The middle of an image in a file, upright, in the model's size and channels: (1, C, H, W) in [0, 1].

    `inverts`: light for dark, as for ink on paper before a model of white digits on black. Raises UserError.
    """
    channels, height, width = image_shape
    if height != width:
        raise UserError(f"This model's images are {height}x{width}, and uploads are cut to squares")
    try:
        pixels = decode_file(path, height, channels, background="white")
    except DataError as error:
        raise UserError(str(error).replace(f"{path.parent}/", "")) from error
    image = to_unit_range(pixels).unsqueeze(0)
    return 1 - image if inverts else image

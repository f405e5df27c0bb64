"""Random changes of images, drawn anew for each image of a batch, on its device; none in evaluation mode.

Images (B, C, H, W) to the same, differentiably. What is moved in from outside is 0: black in [0, 1], mid-grey in a
GAN's range [-1, 1].
"""

from abc import ABC, abstractmethod
from math import log
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample


class Augmentation(nn.Module, ABC):
    """Images (B, C, H, W) to images; in evaluation mode to the same images."""

    def forward(self, images: Tensor) -> Tensor:
        return self.augment(images) if self.training else images

    @abstractmethod
    def augment(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W), each changed in its own way."""


class NoAugmentation(Augmentation):
    """The neutral element."""

    def augment(self, images: Tensor) -> Tensor:
        return images


class DiffAugment(Augmentation):
    """Colour, translation and cutout, for discriminators of few images (Zhao et al. 2020, arXiv:2006.10738).

    The discriminator sees real and fake images through it, the generator's gradient goes through it.
    """

    def __init__(
        self,
        color: bool,
        translation: Annotated[float, Interval(ge=0, lt=1)],
        cutout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        """`color`: brightness, saturation and contrast. `translation`, `cutout`: shares of a side; 0 leaves it out."""
        super().__init__()
        self.color, self.translation, self.cutout = color, translation, cutout

    def augment(self, images: Tensor) -> Tensor:
        if self.color:
            images = recolored(images)
        if self.translation:
            images = translated(images, self.translation)
        if self.cutout:
            images = cut_out(images, self.cutout)
        return images


def recolored(images: Tensor) -> Tensor:
    """Brightness by ± 0.5, saturation by 0 to 2, contrast by 0.5 to 1.5; saturation leaves grey images as they are."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)  # (B, 1, H, W)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return mean + (images - mean) * (contrast + 0.5)


def translated(images: Tensor, share: float) -> Tensor:
    """Each image moved by whole pixels, up to `share` of a side in each direction."""
    batch, _, height, width = images.shape
    rows, rows_inside = shifted_positions(batch, height, share, images.device)  # (B, H) each
    columns, columns_inside = shifted_positions(batch, width, share, images.device)  # (B, W) each
    image = torch.arange(batch, device=images.device).view(-1, 1, 1)
    moved = images.permute(0, 2, 3, 1)[image, rows.unsqueeze(2), columns.unsqueeze(1)]  # (B, H, W, C)
    inside = rows_inside.unsqueeze(2) & columns_inside.unsqueeze(1)  # (B, H, W)
    return moved.permute(0, 3, 1, 2) * inside.unsqueeze(1)


def shifted_positions(batch: int, side: int, share: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each position of a side comes from, (B, side), and whether that is inside of it."""
    reach = round(share * side)
    shift = torch.randint(-reach, reach + 1, (batch, 1), device=device)
    source = torch.arange(side, device=device) + shift
    return source.clamp(0, side - 1), (source >= 0) & (source < side)


def cut_out(images: Tensor, share: float) -> Tensor:
    """A rectangle of `share` of each side, around any pixel, becomes 0."""
    batch, _, height, width = images.shape
    inside = []
    for side in (height, width):
        size = round(share * side)
        start = torch.randint(0, side + 1 - size % 2, (batch, 1), device=images.device) - size // 2
        position = torch.arange(side, device=images.device)
        inside.append((position >= start) & (position < start + size))  # (B, side)
    rows, columns = inside
    return images * ~(rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


class RandomAffine(Augmentation):
    """Rotate by up to `degrees`, scale by up to 1 ± `scale`, shift by up to `translate` of a side."""

    def __init__(
        self,
        degrees: Annotated[float, Ge(0)],
        scale: Annotated[float, Interval(ge=0, lt=1)],
        translate: Annotated[float, Ge(0)],
    ) -> None:
        super().__init__()
        self.degrees, self.scale, self.translate = degrees, scale, translate

    def augment(self, images: Tensor) -> Tensor:
        angle, zoom, x, y = torch.rand(4, len(images), device=images.device) * 2 - 1  # (B,) each, in [-1, 1]
        angle = angle * self.degrees * torch.pi / 180
        cos, sin = angle.cos() * (1 + zoom * self.scale), angle.sin() * (1 + zoom * self.scale)
        reach = 2 * self.translate  # affine_grid's image is 2 wide
        return resample(images, [[cos, -sin, x * reach], [sin, cos, y * reach]], padding="zeros")


class RandomResizedCrop(Augmentation):
    """Cut out a rectangle of a random share of the area and resize it to the whole; mirror every other image.

    The share is uniform in [smallest_area, 1], the rectangle's aspect log-uniform in [3/4, 4/3], as in Inception's
    training (Szegedy et al. 2015, arXiv:1409.4842).
    """

    def __init__(self, smallest_area: Annotated[float, Interval(gt=0, le=1)]) -> None:
        super().__init__()
        self.smallest_area = smallest_area

    def augment(self, images: Tensor) -> Tensor:
        area, aspect, x, y, side = torch.rand(5, len(images), device=images.device)  # (B,) each, in [0, 1]
        area = self.smallest_area + (1 - self.smallest_area) * area
        aspect = ((2 * aspect - 1) * log(4 / 3)).exp()
        width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)  # shares of a side
        flip = torch.where(side < 0.5, -1.0, 1.0)
        zero = torch.zeros_like(area)
        to_x = [width * flip, zero, (2 * x - 1) * (1 - width)]  # affine_grid's image is 2 wide, its middle is 0
        to_y = [zero, height, (2 * y - 1) * (1 - height)]
        return resample(images, [to_x, to_y], padding="border")


def resample(images: Tensor, affine: list[list[Tensor]], padding: str) -> Tensor:
    """Each image at the places that its own 2x3 matrix, of entries (B,), maps the grid to."""
    matrix = torch.stack([torch.stack(row, dim=1) for row in affine], dim=1)
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False, padding_mode=padding)

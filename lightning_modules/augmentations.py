"""Random changes of images, drawn anew for each image of a batch, on its device; none in evaluation mode."""

from math import log

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample


class RandomAffine(nn.Module):
    """Rotate by up to `degrees`, scale by up to 1 ± `scale`, shift by up to `translate` of a side, over black.

    Images (B, C, H, W) in [0, 1], to the same.
    """

    def __init__(self, degrees: float, scale: float, translate: float) -> None:
        super().__init__()
        self.degrees, self.scale, self.translate = degrees, scale, translate

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        angle, zoom, x, y = torch.rand(4, len(images), device=images.device) * 2 - 1  # (B,) each, in [-1, 1]
        angle = angle * self.degrees * torch.pi / 180
        cos, sin = angle.cos() * (1 + zoom * self.scale), angle.sin() * (1 + zoom * self.scale)
        reach = 2 * self.translate  # affine_grid's image is 2 wide
        return resample(images, [[cos, -sin, x * reach], [sin, cos, y * reach]], padding="zeros")


class RandomResizedCrop(nn.Module):
    """Cut out a rectangle of a random share of the area and resize it to the whole; mirror every other image.

    The share is uniform in [smallest_area, 1], the rectangle's aspect log-uniform in [3/4, 4/3], as in Inception's
    training (Szegedy et al. 2015, arXiv:1409.4842). Images (B, C, H, W) in [0, 1], to the same.
    """

    def __init__(self, smallest_area: float) -> None:
        super().__init__()
        self.smallest_area = smallest_area

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
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

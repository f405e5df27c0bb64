"""Random affine changes of images, drawn anew for each image of a batch, on its device."""

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample


class RandomAffine(nn.Module):
    """Rotate by up to `degrees`, scale by up to 1 ± `scale`, shift by up to `translate` of a side, maybe mirror.

    Images (B, C, H, W) in [0, 1], to the same. In evaluation mode it changes nothing.
    """

    def __init__(self, degrees: float, scale: float, translate: float, mirror: bool) -> None:
        super().__init__()
        self.degrees, self.scale, self.translate, self.mirror = degrees, scale, translate, mirror

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        uniform = torch.rand(len(images), 4, device=images.device) * 2 - 1  # (B, 4), in [-1, 1]
        angle = uniform[:, 0] * self.degrees * torch.pi / 180
        zoom = 1 + uniform[:, 1] * self.scale
        flip = torch.ones_like(zoom)
        if self.mirror:
            flip = torch.randint(0, 2, zoom.shape, device=images.device) * 2.0 - 1
        cos, sin = angle.cos() * zoom, angle.sin() * zoom
        shift = uniform[:, 2:] * self.translate * 2  # affine_grid's image is 2 wide
        matrix = torch.stack(
            [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)],
            1,
        )
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, align_corners=False, padding_mode="reflection" if self.mirror else "zeros")

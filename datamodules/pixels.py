"""Conversion between pixels as they are stored, uint8, and as models and scores see them, float32 in [0, 1]."""

import torch
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to uint8, rounded to the nearest; what lies outside is clamped."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)

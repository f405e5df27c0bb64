"""Conversion between pixels as they are stored, uint8, and as models and scores see them, float32 in [0, 1]."""

import torch
from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 pixels to float32 in [0, 1]."""
    return images.float().div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to uint8, rounded to the nearest; what lies outside is clamped."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def not_pixels(images: Tensor) -> str | None:
    """What a tensor holds instead of pixels, which are uint8, or floats in [0, 1], and nan is neither; None: pixels."""
    if images.dtype == torch.uint8:
        return None
    if not images.is_floating_point():
        return str(images.dtype)
    if images.numel() == 0:
        return None
    low, high = (float(end) for end in images.detach().aminmax())
    return None if low >= 0 and high <= 1 else f"{images.dtype} from {low:.4g} to {high:.4g}"

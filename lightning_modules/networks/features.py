"""What a network has found out about images before its last layer."""

from torch import Tensor, nn


def features(encoder: nn.Sequential, images: Tensor) -> Tensor:
    """Images (B, C, H, W) to what an `Encoder`'s last layer, which is linear, sees: (B, F)."""
    *layers, _ = encoder
    for layer in layers:
        images = layer(images)
    return images

"""DCGAN's networks (Radford et al. 2016, arXiv:1511.06434), with as many stages as the image has halvings.

Halving an odd side rounds down; doubling it back adds a row, or column, to the transposed convolution's output.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod

from torch import nn

from foundation.ranges import Dimension, Size

from .pyramid import channels, resolutions


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs): strided convolutions, then one linear layer.

    `norm` makes a layer from a channel count. The first convolution has none, as in DCGAN.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Size,
        width: Size,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        *_, base = sides = resolutions(height, image_width)
        widths = channels(width, stages=len(sides) - 1)
        layers: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 4, 2, 1), activation()]  # (B, ·, H/2, W/2)
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), norm(outputs), activation()]  # both sides halved again
        super().__init__(
            *layers,  # (B, widths[-1], *base)
            nn.Flatten(),
            nn.Linear(widths[-1] * prod(base), num_outputs),  # (B, num_outputs)
        )


class Decoder(nn.Sequential):
    """Latent (B, latent_dim) to image parameters (B, C, H, W), unbounded: the encoder's stages mirrored."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Dimension,
        width: Size,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        base, *larger = resolutions(height, image_width)[::-1]
        widths = channels(width, stages=len(larger))[::-1]
        steps = list(pairwise([base, *larger]))
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * prod(base)),
            nn.Unflatten(1, (widths[0], *base)),  # (B, widths[0], *base)
            norm(widths[0]),
            activation(),
        ]
        for (inputs, outputs), (small, large) in zip(pairwise(widths), steps[:-1], strict=True):
            layers += [doubling(inputs, outputs, small, large), norm(outputs), activation()]
        super().__init__(
            *layers,  # (B, widths[-1], H/2, W/2)
            doubling(widths[-1], image_channels, *steps[-1]),  # (B, C, H, W)
        )


def doubling(inputs: int, outputs: int, small: tuple[int, int], large: tuple[int, int]) -> nn.ConvTranspose2d:
    """The convolution from images of `small` height and width to `large` ones, of which halving makes `small` ones."""
    odd = (large[0] - 2 * small[0], large[1] - 2 * small[1])  # 0 or 1 each
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, output_padding=odd)

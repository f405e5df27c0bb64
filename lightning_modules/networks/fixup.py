"""Residual networks whose branches start at zero, so that they train without a norm, and that resize by tent filters.

After Fixup (Zhang et al. 2019, arXiv:1901.09321) and R3GAN (Huang et al. 2024, arXiv:2501.05441), which has this
initialisation and no norm. Otherwise than there, convolutions are dense, since R3GAN's grouped ones take up to twice
the time on a CPU at equal size; and images are read and written by a convolution that halves or doubles, as in DCGAN.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from foundation.ranges import Depth, Dimension, Size

from .conv import doubling
from .pyramid import channels, resolutions
from .resizing import Downsample, Upsample


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs): `depth` residual blocks after each halving, one linear layer."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Size,
        width: Size,
        depth: Depth,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        *_, base = sides = resolutions(height, image_width)
        widths = channels(width, stages=len(sides) - 1)
        blocks = partial(residual_blocks, depth, depth * len(widths), activation=activation, norm=norm)
        layers: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 4, 2, 1)]  # (B, widths[0], ⌊H/2⌋, ⌊W/2⌋)
        layers += blocks(widths[0])
        for inputs, outputs in pairwise(widths):
            layers += [Downsample(inputs), pointwise(inputs, outputs)]  # both sides halved again
            layers += blocks(outputs)
        super().__init__(
            *layers,  # (B, widths[-1], *base)
            norm(widths[-1]),
            activation(),
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
        depth: Depth,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        base, *larger = resolutions(height, image_width)[::-1]
        widths = channels(width, stages=len(larger))[::-1]
        steps = list(pairwise([base, *larger]))
        blocks = partial(residual_blocks, depth, depth * len(widths), activation=activation, norm=norm)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, widths[0] * prod(base)),
            nn.Unflatten(1, (widths[0], *base)),  # (B, widths[0], *base)
        ]
        layers += blocks(widths[0])
        for (inputs, outputs), (small, large) in zip(pairwise(widths), steps[:-1], strict=True):
            layers += [pointwise(inputs, outputs), Upsample(outputs, small, large)]
            layers += blocks(outputs)
        super().__init__(
            *layers,  # (B, widths[-1], ⌊H/2⌋, ⌊W/2⌋)
            norm(widths[-1]),
            activation(),
            doubling(widths[-1], image_channels, *steps[-1]),  # (B, C, H, W)
        )


def residual_blocks(
    count: int, of: int, channels: int, activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module]
) -> list[nn.Module]:
    """`count` blocks in a row, of a network that has `of` in all."""
    return [ResidualBlock(channels, activation, norm, scale=of**-0.5) for _ in range(count)]


class ResidualBlock(nn.Module):
    """(B, channels, H, W) to its like; at the start of training the identity, since the branch ends in zeros.

    The branch's first weights are drawn as by He et al. (2015), times `scale`: 1/√L of L blocks (Fixup, section 3).
    """

    def __init__(
        self, channels: int, activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module], scale: float
    ) -> None:
        super().__init__()
        first, last = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.residual = nn.Sequential(norm(channels), activation(), first, norm(channels), activation(), last)
        nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
        first.weight.data.mul_(scale)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution that keeps its input's variance at the start: without a norm nothing restores it."""
    convolution = nn.Conv2d(inputs, outputs, 1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
    return convolution

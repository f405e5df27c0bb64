"""Residual networks with pre-activation blocks (He et al. 2016, arXiv:1603.05027; layout as in SNGAN)."""

from collections.abc import Callable
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from foundation.ranges import Dimension, Size

from .pyramid import channels, resolutions


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs): one block a halving, then the mean over positions."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Size,
        width: Size,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        sides = resolutions(height, image_width)
        widths = channels(width, stages=len(sides) - 1)
        blocks = [
            ResidualBlock(inputs, outputs, activation, norm, after=halving(large, small))
            for inputs, outputs, (large, small) in zip([widths[0], *widths[:-1]], widths, pairwise(sides), strict=True)
        ]
        super().__init__(
            nn.Conv2d(image_channels, widths[0], 3, padding=1),  # (B, widths[0], H, W)
            *blocks,  # (B, widths[-1], *sides[-1])
            ResidualBlock(widths[-1], widths[-1], activation, norm),
            norm(widths[-1]),
            activation(),
            nn.AdaptiveAvgPool2d(1),  # (B, widths[-1], 1, 1)
            nn.Flatten(),  # (B, widths[-1])
            nn.Linear(widths[-1], num_outputs),  # (B, num_outputs)
        )


class Decoder(nn.Sequential):
    """Latent (B, latent_dim) to image parameters (B, C, H, W), unbounded: one block a doubling."""

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
        blocks = [
            ResidualBlock(inputs, outputs, activation, norm, before=nn.Upsample(side))
            for inputs, outputs, side in zip(widths, [*widths[1:], widths[-1]], larger, strict=True)
        ]
        super().__init__(
            nn.Linear(latent_dim, widths[0] * prod(base)),
            nn.Unflatten(1, (widths[0], *base)),  # (B, widths[0], *base)
            *blocks,  # (B, widths[-1], H, W)
            norm(widths[-1]),
            activation(),
            nn.Conv2d(widths[-1], image_channels, 3, padding=1),  # (B, C, H, W)
        )


def halving(large: tuple[int, int], small: tuple[int, int]) -> nn.Module:
    """Means of 2x2 pixels; where a side is odd, of up to three in a row, which overlap, so that no pixel is lost."""
    return nn.AvgPool2d(2) if large == (2 * small[0], 2 * small[1]) else nn.AdaptiveAvgPool2d(small)


class ResidualBlock(nn.Module):
    """(B, inputs, H, W) to (B, outputs, H', W'); `before` and `after` resize both of its branches."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
        before: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        before, after = before or nn.Identity(), after or nn.Identity()
        self.residual = nn.Sequential(
            norm(inputs),
            activation(),
            before,
            nn.Conv2d(inputs, outputs, 3, padding=1),
            norm(outputs),
            activation(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            after,
        )
        project = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.shortcut = nn.Sequential(before, project, after)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)  # (B, outputs, H', W')

"""Residual networks with pre-activation blocks (He et al. 2016, arXiv:1603.05027; layout as in SNGAN)."""

from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from .pyramid import channels, halvings


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs): one block a halving, then the mean over positions."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)],
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        widths = channels(width, halvings(height, image_width))
        blocks = [
            ResidualBlock(inputs, outputs, activation, norm, after=nn.AvgPool2d(2))
            for inputs, outputs in zip([widths[0], *widths[:-1]], widths, strict=True)
        ]
        super().__init__(
            nn.Conv2d(image_channels, widths[0], 3, padding=1),  # (B, widths[0], H, W)
            *blocks,  # (B, widths[-1], H / 2^stages, W / 2^stages)
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
        latent_dim: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)],
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        stages = halvings(height, image_width)
        widths = channels(width, stages)[::-1]
        base = (widths[0], height >> stages, image_width >> stages)
        blocks = [
            ResidualBlock(inputs, outputs, activation, norm, before=nn.Upsample(scale_factor=2))
            for inputs, outputs in zip(widths, [*widths[1:], widths[-1]], strict=True)
        ]
        super().__init__(
            nn.Linear(latent_dim, base[0] * base[1] * base[2]),
            nn.Unflatten(1, base),  # (B, widths[0], H / 2^stages, W / 2^stages)
            *blocks,  # (B, widths[-1], H, W)
            norm(widths[-1]),
            activation(),
            nn.Conv2d(widths[-1], image_channels, 3, padding=1),  # (B, C, H, W)
        )


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

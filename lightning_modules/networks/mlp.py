"""Multilayer perceptrons: every pixel is an input, so one class serves every image size."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from foundation.errors import ConfigError
from foundation.ranges import Depth, Dimension, Size


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs) through fully connected hidden layers.

    `width` is one number for all `depth` hidden layers, or one number for each of them, first to last.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Size,
        width: Size | Sequence[Size],
        depth: Depth,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        widths = [prod(image_shape), *hidden_widths(width, depth)]
        super().__init__(
            nn.Flatten(),  # (B, C · H · W)
            *hidden_layers(widths, activation, norm),  # (B, widths[-1])
            nn.Linear(widths[-1], num_outputs),  # (B, num_outputs)
        )


class Decoder(nn.Sequential):
    """Latent (B, latent_dim) to image parameters (B, C, H, W), unbounded, through fully connected layers."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Dimension,
        width: Size | Sequence[Size],
        depth: Depth,
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        widths = [latent_dim, *hidden_widths(width, depth)]
        super().__init__(
            *hidden_layers(widths, activation, norm),  # (B, widths[-1])
            nn.Linear(widths[-1], prod(image_shape)),  # (B, C · H · W)
            nn.Unflatten(1, image_shape),  # (B, C, H, W)
        )


def hidden_widths(width: int | Sequence[int], depth: int) -> list[int]:
    """The width of each hidden layer. Raises ConfigError unless there are `depth` of them."""
    if isinstance(width, int):
        return [width] * depth
    if len(width) != depth:
        raise ConfigError(
            f"network: width names {len(width)} hidden layers ({list(width)}) but depth is {depth}; "
            f"give one number for all layers, or exactly {depth} numbers"
        )
    return list(width)


def hidden_layers(
    widths: Sequence[int], activation: Callable[[], nn.Module], norm: Callable[[int], nn.Module]
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Sequential(OnePixel(norm(outputs)), activation())]
    return layers


class OnePixel(nn.Module):
    """A norm of feature maps on vectors (B, C), each taken for an image of one pixel."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x[:, :, None, None]).flatten(1)

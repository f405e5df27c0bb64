"""DCGAN's networks (Radford et al. 2016, arXiv:1511.06434), with as many stages as the image has halvings."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge
from torch import nn

from .pyramid import channels, halvings


class Encoder(nn.Sequential):
    """Image (B, C, H, W) to vector (B, num_outputs): strided convolutions, then one linear layer.

    `norm` makes a layer from a channel count. The first convolution has none, as in DCGAN.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_outputs: Annotated[int, Ge(1)],
        width: Annotated[int, Ge(1)],
        activation: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
    ) -> None:
        image_channels, height, image_width = image_shape
        stages = halvings(height, image_width)
        widths = channels(width, stages)
        layers: list[nn.Module] = [nn.Conv2d(image_channels, widths[0], 4, 2, 1), activation()]  # (B, ·, H/2, W/2)
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), norm(outputs), activation()]  # both sides halved again
        features = widths[-1] * (height >> stages) * (image_width >> stages)
        super().__init__(
            *layers,  # (B, widths[-1], H / 2^stages, W / 2^stages)
            nn.Flatten(),  # (B, features)
            nn.Linear(features, num_outputs),  # (B, num_outputs)
        )


class Decoder(nn.Sequential):
    """Latent (B, latent_dim) to image parameters (B, C, H, W), unbounded: the encoder's stages mirrored."""

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
        layers: list[nn.Module] = [
            nn.Linear(latent_dim, base[0] * base[1] * base[2]),
            nn.Unflatten(1, base),  # (B, widths[0], H / 2^stages, W / 2^stages)
            norm(widths[0]),
            activation(),
        ]
        for inputs, outputs in pairwise(widths):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), norm(outputs), activation()]  # both sides doubled
        super().__init__(
            *layers,  # (B, widths[-1], H/2, W/2)
            nn.ConvTranspose2d(widths[-1], image_channels, 4, 2, 1),  # (B, C, H, W)
        )

"""Conditioning: whether a model knows labels, and how each role's network takes them in."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from foundation.ranges import Dimension, Size

NetworkFactory = Callable[..., nn.Module]
ImageShape = tuple[int, int, int]


class Conditioning(ABC):
    """Builds networks that are called with their input and its labels, (B,) or None."""

    num_classes: int | None  # how many labels the model knows; None: it knows none

    @abstractmethod
    def encoder(self, encoder: NetworkFactory, image_shape: ImageShape, num_outputs: int) -> nn.Module:
        """A network from images (B, C, H, W) and labels to (B, num_outputs)."""

    @abstractmethod
    def decoder(self, decoder: NetworkFactory, image_shape: ImageShape, latent_dim: int) -> nn.Module:
        """A network from latents (B, latent_dim) and labels to (B, C, H, W)."""

    @abstractmethod
    def discriminator(self, encoder: NetworkFactory, image_shape: ImageShape) -> nn.Module:
        """A network from images (B, C, H, W) and labels to logits (B, 1), whose `network` is the encoder."""


class NoConditioning(Conditioning):
    """The neutral element: labels are not looked at."""

    num_classes = None

    def encoder(self, encoder: NetworkFactory, image_shape: ImageShape, num_outputs: int) -> nn.Module:
        return Unlabelled(encoder(image_shape=image_shape, num_outputs=num_outputs))

    def decoder(self, decoder: NetworkFactory, image_shape: ImageShape, latent_dim: int) -> nn.Module:
        return Unlabelled(decoder(image_shape=image_shape, latent_dim=latent_dim))

    def discriminator(self, encoder: NetworkFactory, image_shape: ImageShape) -> nn.Module:
        return self.encoder(encoder, image_shape, num_outputs=1)


class LabelConditioning(Conditioning):
    """Every network knows the class (conditional GAN, Mirza & Osindero 2014, arXiv:1411.1784; conditional VAE, Sohn
    et al. 2015).
    """

    num_classes: int

    def __init__(self, num_classes: Size, embedding_dim: Dimension) -> None:
        """`embedding_dim`: of the class's vector that a decoder gets in addition to z."""
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim

    def encoder(self, encoder: NetworkFactory, image_shape: ImageShape, num_outputs: int) -> nn.Module:
        channels, height, width = image_shape
        network = encoder(image_shape=(channels + 1, height, width), num_outputs=num_outputs)
        return WithLabelPlane(network, self.num_classes, height, width)

    def decoder(self, decoder: NetworkFactory, image_shape: ImageShape, latent_dim: int) -> nn.Module:
        network = decoder(image_shape=image_shape, latent_dim=latent_dim + self.embedding_dim)
        return WithLabelVector(network, self.num_classes, self.embedding_dim)

    def discriminator(self, encoder: NetworkFactory, image_shape: ImageShape) -> nn.Module:
        return OutputOfLabel(encoder(image_shape=image_shape, num_outputs=self.num_classes))


class Unlabelled(nn.Module):
    """A network whose output is the same for all labels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return self.network(inputs)


class WithLabelPlane(nn.Module):
    """A network on images that have one channel more, learned for each label."""

    def __init__(self, network: nn.Module, num_classes: int, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.planes = nn.Embedding(num_classes, height * width)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        planes = self.planes(labels).view(-1, 1, *images.shape[2:])  # (B, 1, H, W)
        return self.network(torch.cat([images, planes], dim=1))


class WithLabelVector(nn.Module):
    """A network on latents to which a vector is joined, learned for each label."""

    def __init__(self, network: nn.Module, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.network = network
        self.vectors = nn.Embedding(num_classes, embedding_dim)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.network(torch.cat([z, self.vectors(labels)], dim=1))  # (B, latent_dim + embedding_dim)


class OutputOfLabel(nn.Module):
    """A network with one output for each label, of which the label's own counts.

    With features φ(x) before its last linear layer this is ⟨w_y, φ(x)⟩ + b_y: the projection discriminator (Miyato &
    Koyama 2018, arXiv:1802.05637), its term for all labels being part of every w_y.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.network(images).gather(1, labels.unsqueeze(1))  # (B, 1)

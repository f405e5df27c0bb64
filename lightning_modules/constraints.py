"""Constraints on the discriminator's weights, applied once, when it is built."""

from abc import ABC, abstractmethod
from typing import Annotated

from annotated_types import Ge
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

CONSTRAINED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


class Constraint(ABC):
    """What a discriminator's weights have to keep to, whatever the optimizer does."""

    @abstractmethod
    def __call__(self, network: nn.Module) -> None:
        """Change the network in place."""


class NoConstraint(Constraint):
    """The neutral element: weights are free."""

    def __call__(self, network: nn.Module) -> None:
        pass


class SpectralNorm(Constraint):
    """Every layer's weight is divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""

    def __init__(self, power_iterations: Annotated[int, Ge(1)]) -> None:
        """`power_iterations`: in each forward pass, towards that singular value; the paper has one."""
        self.power_iterations = power_iterations

    def __call__(self, network: nn.Module) -> None:
        for layer in [layer for layer in network.modules() if isinstance(layer, CONSTRAINED)]:
            if not layer.weight.any():
                layer.reset_parameters()  # a weight of zeros can't be divided: such a layer starts as PyTorch's do
            spectral_norm(layer, n_power_iterations=self.power_iterations)

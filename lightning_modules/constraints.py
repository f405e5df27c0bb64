"""Constraints on the discriminator's weights."""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
from annotated_types import Gt
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from foundation.ranges import Count

CONSTRAINED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


class Constraint(ABC):
    """What a discriminator's weights have to keep to, whatever the optimizer does."""

    @abstractmethod
    def __call__(self, network: nn.Module) -> None:
        """Change the network in place, once, when it is built."""

    @abstractmethod
    def project(self, network: nn.Module) -> None:
        """Bring back in place the weights that a step of the optimizer has moved out of where they may be."""


class NoConstraint(Constraint):
    """The neutral element: weights are free."""

    def __call__(self, network: nn.Module) -> None:
        pass

    def project(self, network: nn.Module) -> None:
        pass


class SpectralNorm(Constraint):
    """Every layer's weight is divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""

    def __init__(self, power_iterations: Count) -> None:
        """`power_iterations`: in each forward pass, towards that singular value; the paper has one."""
        self.power_iterations = power_iterations

    def __call__(self, network: nn.Module) -> None:
        for layer in [layer for layer in network.modules() if isinstance(layer, CONSTRAINED)]:
            if not layer.weight.any():
                layer.reset_parameters()  # a weight of zeros can't be divided: such a layer starts as PyTorch's do
            spectral_norm(layer, n_power_iterations=self.power_iterations)

    def project(self, network: nn.Module) -> None:
        """Nothing: weights are divided whenever they are used."""


class WeightClipping(Constraint):
    """Every weight is clipped to [−bound, bound] (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1)."""

    def __init__(self, bound: Annotated[float, Gt(0)]) -> None:
        self.bound = bound

    def __call__(self, network: nn.Module) -> None:
        self.project(network)

    @torch.no_grad()
    def project(self, network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.clamp_(-self.bound, self.bound)

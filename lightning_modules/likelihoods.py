"""Likelihoods p(x | z): what a decoder's output says about pixels in [0, 1].

`parameters` is always the decoder's raw output, (B, C, H, W) and unbounded.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import log
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Size, Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, constraints
from torch.nn.functional import logsigmoid, softplus


class Likelihood(nn.Module, ABC):
    """p(x | parameters), independent over pixels."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What log p(x) is: numbers of different kinds do not compare."""

    is_over_bytes = False  # whether it gives the 256 values of a pixel probabilities, which bits per dimension need

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """The distribution over one pixel each, batch shape (B, C, H, W)."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """The expected image (B, C, H, W), kept in [0, 1]."""

    def log_prob(self, parameters: Tensor, images: Tensor) -> Tensor:
        """log p(x | parameters), summed over pixels: (B,), nats per image."""
        return Independent(self.distribution(parameters), images.dim() - 1).log_prob(images)

    def sample(self, parameters: Tensor) -> Tensor:
        """Draw images (B, C, H, W); a Gaussian's pixels may leave [0, 1]."""
        return self.distribution(parameters).sample()


class BernoulliLikelihood(Likelihood):
    """Each pixel is the logit of being white; grey pixels enter as probabilities (Kingma & Welling 2014)."""

    kind = "cross-entropy of grey levels"

    def distribution(self, parameters: Tensor) -> Distribution:
        # Validation off: a grey pixel is no outcome of a coin, but its cross-entropy is the usual objective.
        return Bernoulli(logits=parameters, validate_args=False)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()


class GaussianLikelihood(Likelihood):
    """Each pixel is a mean; one scale for all, fixed or learned (σ-VAE, Rybkin et al. 2021, arXiv:2006.13202)."""

    kind = "density over [0, 1]"

    def __init__(self, scale: Annotated[float, Gt(0)], learn_scale: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(log(scale)), requires_grad=learn_scale)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, self.log_scale.exp(), validate_args=False)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.clamp(0, 1)


class DiscretizedLogisticLikelihood(Likelihood):
    """Each of the 256 values of a pixel has its bin's mass under a logistic (Salimans et al. 2017, arXiv:1701.05517).

    One learned scale for all pixels, in units of the whole range.
    """

    kind = "mass over bytes"
    is_over_bytes = True

    def __init__(self, scale: Annotated[float, Gt(0)]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))

    def distribution(self, parameters: Tensor) -> Distribution:
        return DiscretizedLogistic(parameters, self.log_scale.exp())

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.clamp(0, 1)


class DiscretizedLogistic(Distribution):
    """Over {0, 1/255, …, 1}: a logistic's mass in bins of 1/255, the first and last of which are open."""

    arg_constraints: ClassVar = {}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc.shape, validate_args=False)
        self.loc, self.scale = loc, scale

    def log_prob(self, value: Tensor) -> Tensor:
        half_bin = 0.5 / 255
        upper, lower = (value - self.loc + half_bin) / self.scale, (value - self.loc - half_bin) / self.scale
        # log(σ(u) − σ(l)) = log σ(u) + log σ(−l) + log(1 − e^(l−u)), finite however far in a tail the bin is
        inside = logsigmoid(upper) + logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))
        return torch.where(
            value < half_bin, logsigmoid(upper), torch.where(value > 1 - half_bin, -softplus(lower), inside)
        )

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        uniform = torch.rand(self._extended_shape(Size(sample_shape)), device=self.loc.device).clamp(1e-7, 1 - 1e-7)
        return ((self.loc + self.scale * torch.logit(uniform)).clamp(0, 1) * 255).round() / 255

"""Likelihoods p(x | z): what a decoder's output says about pixels in [0, 1].

`parameters` is always the decoder's raw output, (B, C, H, W) and unbounded.
"""

from abc import ABC, abstractmethod
from math import log

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal


class Likelihood(nn.Module, ABC):
    """p(x | parameters), independent over pixels."""

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

    def distribution(self, parameters: Tensor) -> Distribution:
        # Validation off: a grey pixel is no outcome of a coin, but its cross-entropy is the usual objective.
        return Bernoulli(logits=parameters, validate_args=False)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.sigmoid()


class GaussianLikelihood(Likelihood):
    """Each pixel is a mean; one scale for all, fixed or learned (σ-VAE, Rybkin et al. 2021, arXiv:2006.13202)."""

    def __init__(self, scale: float, learn_scale: bool) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"model.likelihood.scale: expected a number above 0, got {scale}")
        self.log_scale = nn.Parameter(torch.tensor(log(scale)), requires_grad=learn_scale)

    def distribution(self, parameters: Tensor) -> Distribution:
        return Normal(parameters, self.log_scale.exp(), validate_args=False)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.clamp(0, 1)

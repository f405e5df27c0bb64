"""Likelihoods p(x | z): what a decoder's output says about pixels in [0, 1].

`parameters` is always the decoder's raw output, (B, num_outputs(C), H, W) and unbounded.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import exp, log
from typing import Annotated, ClassVar

import torch
import torch.distributed as dist
from annotated_types import Gt
from torch import Size, Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, constraints
from torch.nn.functional import binary_cross_entropy_with_logits


class Likelihood(nn.Module, ABC):
    """p(x | parameters), independent over positions."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What log p(x) is: numbers of different kinds do not compare."""

    is_over_bytes = False  # whether it gives the 256 values of a pixel probabilities, which bits per dimension need

    def num_outputs(self, channels: int) -> int:
        """How many numbers a decoder puts out for each position of images with this many channels."""
        return channels

    @abstractmethod
    def distribution(self, parameters: Tensor) -> Distribution:
        """The distribution of images, whose batch shape and event shape together are (B, C, H, W)."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """The expected image (B, C, H, W), kept in [0, 1]."""

    def log_prob(self, parameters: Tensor, images: Tensor) -> Tensor:
        """log p(x | parameters), summed over pixels: (B,), nats per image."""
        return log_prob_of_images(self.distribution(parameters), images)

    def follow(self, num_images: int) -> None:
        """Let what no gradient moves follow the training batch that was judged last, once a step; on each device."""

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


class ContinuousBernoulliLikelihood(Likelihood):
    """Each pixel is the logit of a density over [0, 1] (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).

    It is the Bernoulli's cross-entropy and the normalizer that this lacks. The expected image is the density's mean,
    which is greyer than the sigmoid of the logit.
    """

    kind = "density over [0, 1]"

    def distribution(self, parameters: Tensor) -> Distribution:
        return ContinuousBernoulli(parameters)

    def mean(self, parameters: Tensor) -> Tensor:
        return self.distribution(parameters).mean


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


class OptimalGaussianLikelihood(Likelihood):
    """Each pixel is a mean; one scale for all, the one that makes the batch likeliest (σ-VAE, Rybkin et al. 2021).

    That is the root mean squared error of the batch, over all processes, while training. A scale that looked at the
    images it judges would be no density, so outside training it is fixed: the one of the images trained on last,
    whose weight halves with every `half_life` images. It has no gradient: at the optimum that is zero.
    """

    kind = "density over [0, 1]"
    smallest = exp(-6)  # as in the paper's code: an image that is hit exactly has no likeliest scale

    squared_errors: Tensor
    pixels: Tensor

    def __init__(self, half_life: Annotated[float, Gt(0)]) -> None:
        super().__init__()
        self.half_life = half_life
        # Sums that decay together: their ratio is a mean from the first batch on. It begins as 1, of next to no pixels.
        self.register_buffer("squared_errors", torch.tensor(1e-3))
        self.register_buffer("pixels", torch.tensor(1e-3))
        self._judged: Tensor | None = None  # the sums of the batch that was judged last, until they are followed

    def distribution(self, parameters: Tensor) -> Distribution:
        return self.around(parameters, self.squared_errors / self.pixels)

    def log_prob(self, parameters: Tensor, images: Tensor) -> Tensor:
        if not self.training:
            return super().log_prob(parameters, images)
        self._judged = judged = self.sums(parameters, images)
        return log_prob_of_images(self.around(parameters, judged[0] / judged[1]), images)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.clamp(0, 1)

    def around(self, parameters: Tensor, squared_error: Tensor) -> Distribution:
        """The Gaussian whose scale is the root of a mean squared error."""
        return Normal(parameters, squared_error.sqrt().clamp(min=self.smallest), validate_args=False)

    @torch.no_grad()
    def sums(self, parameters: Tensor, images: Tensor) -> Tensor:
        """Squared errors of a training batch, and its pixels, over all processes: (2,)."""
        squares = (images - parameters).square()
        sums = torch.stack([squares.sum(), squares.new_tensor(squares.numel())])
        if dist.is_initialized():
            dist.all_reduce(sums)
        return sums

    @torch.no_grad()
    def follow(self, num_images: int) -> None:
        if self._judged is None:
            return
        processes = dist.get_world_size() if dist.is_initialized() else 1
        decay = 0.5 ** (num_images * processes / self.half_life)
        self.squared_errors.mul_(decay).add_(self._judged[0])
        self.pixels.mul_(decay).add_(self._judged[1])
        self._judged = None


class ContinuousBernoulli(Distribution):
    """Density over [0, 1] proportional to e^(logit · x).

    torch's clamps the probabilities: beyond logits of ±16 its mass is not 1, and its mean stays at 0.94.
    """

    arg_constraints: ClassVar = {}
    support = constraints.unit_interval
    small = 0.2  # logits nearer to 0 go by Taylor's series: the closed forms are 0 / 0 there

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.shape, validate_args=False)
        self.logits = logits
        self.is_small = logits.abs() < self.small
        self.safe_logits = torch.where(self.is_small, 1.0, logits)  # both branches of `where` have gradients

    @property
    def log_normalizer(self) -> Tensor:
        """log(λ / tanh(λ / 2)) of the logit λ."""
        magnitude, square = self.safe_logits.abs(), self.logits.square()
        closed = magnitude.log() + torch.log1p((-magnitude).exp()) - torch.log(-torch.expm1(-magnitude))
        return torch.where(self.is_small, log(2) + square / 12 - 7 * square.square() / 1440, closed)

    @property
    def mean(self) -> Tensor:
        """1 / (1 − e^−λ) − 1 / λ."""
        closed = 0.5 / torch.tanh(self.safe_logits / 2) - 1 / self.safe_logits + 0.5
        return torch.where(self.is_small, 0.5 + self.logits / 12 - self.logits**3 / 720, closed)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = torch.broadcast_tensors(self.logits, value)
        return self.log_normalizer - binary_cross_entropy_with_logits(logits, value, reduction="none")

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        uniform = torch.rand(self._extended_shape(Size(sample_shape)), device=self.logits.device)
        slope = -self.logits.abs().clamp(min=1e-6)  # the inverse of the distribution function, where it falls
        falling = (torch.log1p(uniform * torch.expm1(slope)) / slope).clamp(0, 1)
        return torch.where(self.logits > 0, 1 - falling, falling)


def log_prob_of_images(distribution: Distribution, images: Tensor) -> Tensor:
    """log p(x), (B,), of a distribution whose batch shape begins with B."""
    return Independent(distribution, len(distribution.batch_shape) - 1).log_prob(images)

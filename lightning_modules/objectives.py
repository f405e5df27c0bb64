"""Objectives: which bound on log p(x) a VAE ascends."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log
from typing import Annotated

from torch import Tensor
from torch.distributions import Distribution, Independent

from foundation.ranges import Interval


@dataclass(frozen=True, eq=False)
class Draws:
    """K draws z ~ q(z|x) for each image of a batch, and how well they explain it."""

    posterior: Independent  # q(z|x), of batch shape (B,)
    prior: Distribution  # p(z)
    z: Tensor  # (K, B, latent_dim)
    log_likelihood: Tensor  # log p(x|z): (K, B), nats per image

    @property
    def log_weights(self) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x): (K, B), nats per image."""
        log_prior = self.prior.log_prob(self.z.flatten(0, 1)).view(self.log_likelihood.shape)
        return self.log_likelihood + log_prior - self.posterior.log_prob(self.z)


class Objective(ABC):
    """The loss to descend, a scalar in nats per image."""

    num_samples: int  # draws z ~ q(z|x) for each image: so many times the batch goes through the decoder

    @abstractmethod
    def __call__(self, draws: Draws, kl: Tensor, paid: Tensor) -> Tensor:
        """From draws, the mean KL, and what the rate makes the loss pay for it: scalars, nats per image."""


class EvidenceLowerBound(Objective):
    """The VAE's own: −E_q[log p(x|z)], and the price of the KL (Kingma & Welling 2014)."""

    num_samples = 1

    def __call__(self, draws: Draws, kl: Tensor, paid: Tensor) -> Tensor:
        return -draws.log_likelihood.mean() + paid


class ImportanceWeightedBound(Objective):
    """IWAE: log of the mean of K importance weights, ever nearer to log p(x) (Burda et al. 2016, arXiv:1509.00519).

    What a rate asks beyond the KL itself comes on top: with β = 1 the loss is the negative bound.
    """

    def __init__(self, num_samples: Annotated[int, Interval(ge=1, le=10_000)]) -> None:
        self.num_samples = num_samples

    def __call__(self, draws: Draws, kl: Tensor, paid: Tensor) -> Tensor:
        bound = draws.log_weights.logsumexp(dim=0) - log(len(draws.z))  # (B,)
        return -bound.mean() + (paid - kl)

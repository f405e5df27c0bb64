"""Rates: what a VAE's loss pays for the KL divergence. The ELBO that is reported knows nothing of them."""

from abc import ABC, abstractmethod
from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from foundation.ranges import Count


class Rate(ABC):
    """A scalar, the price of the KL."""

    @abstractmethod
    def __call__(self, kl: Tensor, images_seen: int) -> Tensor:
        """From the KL by latent dimension, (B, D), nats; a total that does not part so is spread over them evenly."""


class ConstantRate(Rate):
    """β times the KL: 1 is the VAE's own objective, more is β-VAE's (Higgins et al. 2017)."""

    def __init__(self, beta: Annotated[float, Ge(0)]) -> None:
        self.beta = beta

    def __call__(self, kl: Tensor, images_seen: int) -> Tensor:
        return self.beta * kl.sum(dim=1).mean()


class WarmUpRate(ConstantRate):
    """β grows linearly from 0 over the first `images` training images (Bowman et al. 2016, Sønderby et al. 2016)."""

    def __init__(self, beta: Annotated[float, Ge(0)], images: Count) -> None:
        super().__init__(beta)
        self.images = images

    def __call__(self, kl: Tensor, images_seen: int) -> Tensor:
        return min(1.0, images_seen / self.images) * super().__call__(kl, images_seen)


class FreeBitsRate(ConstantRate):
    """Every latent dimension may carry `nats` for free: β Σ_d max(nats, E[KL_d]), the mean being over the batch.

    No gradient presses a dimension below that (Kingma et al. 2016, arXiv:1606.04934, eq. 15). Under a prior whose KL
    does not part by dimension, the D dimensions share D · nats.
    """

    def __init__(self, beta: Annotated[float, Ge(0)], nats: Annotated[float, Ge(0)]) -> None:
        super().__init__(beta)
        self.nats = nats

    def __call__(self, kl: Tensor, images_seen: int) -> Tensor:
        return self.beta * kl.mean(dim=0).clamp(min=self.nats).sum()


class CapacityRate(ConstantRate):
    """β |E[KL] − C|: the KL is drawn to a capacity C, which grows linearly from 0 to `nats` over `images` images.

    Below it the KL is pressed up as much as it is pressed down above (Burgess et al. 2018, arXiv:1804.03599, eq. 8,
    whose γ is β here).
    """

    def __init__(self, beta: Annotated[float, Ge(0)], nats: Annotated[float, Ge(0)], images: Count) -> None:
        super().__init__(beta)
        self.nats, self.images = nats, images

    def __call__(self, kl: Tensor, images_seen: int) -> Tensor:
        capacity = min(1.0, images_seen / self.images) * self.nats
        return self.beta * (kl.sum(dim=1).mean() - capacity).abs()

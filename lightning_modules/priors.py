"""Priors p(z) over latents (B, latent_dim)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence


class Prior(nn.Module, ABC):
    """p(z), possibly with parameters of its own, which the ELBO then trains."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), summed over latents: (B,), nats."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """Draw (n, latent_dim)."""

    def kl(self, posterior: Normal, z: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)), (B,), nats: estimated from the one draw z ~ q where no closed form is known."""
        return Independent(posterior, 1).log_prob(z) - self.log_prob(z)

    def kl_by_dimension(self, posterior: Normal) -> Tensor | None:
        """The KL of each latent dimension, (B, latent_dim), nats; None for a prior that is no product over them."""
        return None


class StandardNormalPrior(Prior):
    """N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        # Buffers, so that the distribution is on the model's device; not persistent: they are constants.
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    @property
    def distribution(self) -> Normal:
        return Normal(self.loc, self.scale, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        return self.distribution.log_prob(z).sum(dim=1)

    def sample(self, n: int) -> Tensor:
        return self.distribution.sample((n,))

    def kl(self, posterior: Normal, z: Tensor) -> Tensor:
        """KL(q(z|x) ‖ p(z)), (B,), nats, in closed form."""
        return self.kl_by_dimension(posterior).sum(dim=1)

    def kl_by_dimension(self, posterior: Normal) -> Tensor:
        return kl_divergence(posterior, self.distribution)

"""What models share that infer a posterior of each image's latents (Kingma & Welling 2014, arXiv:1312.6114)."""

from abc import ABC

import torch
from torch import nn
from torch.distributions import Distribution, Independent
from torch.nn.functional import softplus

from .density_model import DensityModel
from .priors import Prior, diagonal_normal
from .values import Batch, Latents


class VariationalModel(DensityModel, ABC):
    """A model whose constructor sets an `encoder`, with two outputs for each latent, and a `prior`."""

    encoder: nn.Module
    prior: Prior

    def posterior(self, batch: Batch) -> Independent:
        """q(z|x): a diagonal Gaussian, batch shape (B,), event shape (latent_dim,)."""
        outputs = self.in_use(self.encoder)(batch.images, batch.labels)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # log densities need all their digits
        mean, raw_scale = outputs.chunk(2, dim=1)
        return diagonal_normal(mean, softplus(raw_scale) + 1e-4)  # never a scale of zero

    def latent_prior(self) -> Distribution:
        """p(z), of event shape (latent_dim,)."""
        return self.in_use(self.prior).distribution(self.posterior)

    def latent_draws(self, batch: Batch) -> Latents:
        """z ~ q(z|x), one for each image; with its label, where the model knows labels."""
        return Latents(self.posterior(batch).sample(), self.known_labels(batch))

    def encode(self, batch: Batch) -> Latents:
        """Images in [0, 1] to the means of their posteriors."""
        return Latents(self.posterior(batch).mean, self.known_labels(batch))

    @property
    def learned_prior(self) -> dict[str, nn.Module]:
        """The prior by its role, where it has parameters."""
        return {"prior": self.prior} if any(True for _ in self.prior.parameters()) else {}

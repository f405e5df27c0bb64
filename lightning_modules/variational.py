"""What models share that infer a posterior of each image's latents (Kingma & Welling 2014, arXiv:1312.6114)."""

from abc import ABC
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.nn.functional import softplus

from .density_model import DensityModel
from .likelihoods import Likelihood
from .priors import Prior, diagonal_normal
from .values import Batch, Latents


class VariationalModel(DensityModel, ABC):
    """A model whose constructor sets these parts; the encoder has two outputs for each latent."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
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

    def draws(self, batches: Iterable[Batch], times: int) -> Iterator[Latents]:
        """z ~ q(z|x), one of each image, with its label where the model knows labels; then another, `times` in all."""
        posteriors: list[tuple[Independent, Tensor | None]] = []
        for batch in batches:
            posteriors.append((self.posterior(batch), self.known_labels(batch)))
            yield Latents(posteriors[-1][0].sample(), posteriors[-1][1])
        for _ in range(times - 1):
            for posterior, labels in posteriors:
                yield Latents(posterior.sample(), labels)

    def encode(self, batch: Batch) -> Latents:
        """Images in [0, 1] to the means of their posteriors."""
        return Latents(self.posterior(batch).mean, self.known_labels(batch))

    def parameters_of(self, latents: Latents) -> Tensor:
        """The decoder's output, (B, likelihood.num_outputs(C), H, W)."""
        outputs = self.in_use(self.decoder)(latents.z, latents.labels)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))

    def images_of(self, parameters: Tensor) -> Tensor:
        """The decoder's output to expected images in [0, 1]."""
        return self.in_use(self.likelihood).mean(parameters)

    def decode(self, latents: Latents) -> Tensor:
        return self.images_of(self.parameters_of(latents))

    @property
    def learned_prior(self) -> dict[str, nn.Module]:
        """The prior by its role, where it has parameters."""
        return {"prior": self.prior} if any(True for _ in self.prior.parameters()) else {}

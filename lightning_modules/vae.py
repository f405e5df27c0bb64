"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import torch
import torch.distributed as dist
from annotated_types import Ge
from torch import Tensor, nn
from torch.distributions import Independent
from torch.nn.functional import softplus
from torch.optim import Optimizer

from .clippings import Clipping
from .conditioning import Conditioning
from .densities import Density
from .generative_model import GenerativeModel
from .likelihoods import Likelihood
from .priors import Prior, diagonal_normal, kl, kl_by_dimension
from .rates import Rate
from .schedules import Schedule
from .values import Batch, Latents

# From the posterior of an image, at most, to fit a density to. Of one draw each of 1,197 digits held-out latents choose
# a mixture of one Gaussian (fid_reference on val 15), of ten draws one of ten (4.0).
DRAWS = 10


class VAE(GenerativeModel):
    """Ascends the ELBO, log p(x) ≥ E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)), in nats per image.

    The loss pays for the KL what the `rate` asks: with β = 1 it is the negative ELBO.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Annotated[int, Ge(1)],
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        conditioning: Callable[..., Conditioning],
        likelihood: Likelihood,
        rate: Rate,
        prior: Callable[..., Prior],
        density: Callable[..., Density],
        schedule: Schedule,
        clipping: Clipping,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        roles = conditioning()
        super().__init__(image_shape, (latent_dim,), roles.num_classes, ema_half_life, ema_ramp_up, schedule, clipping)
        self.encoder = roles.encoder(encoder, self.image_shape, num_outputs=2 * latent_dim)
        self.decoder = roles.decoder(decoder, self.image_shape, latent_dim)
        self.likelihood = likelihood
        self.rate = rate
        self.prior = prior(latent_dim=latent_dim)
        self.density = density(latent_dim=latent_dim, num_classes=self.num_classes)
        self.optimizer = optimizer
        self.keep_averages("encoder", "decoder", "likelihood", "prior")

    @property
    def networks(self) -> dict[str, nn.Module]:
        learned = {"prior": self.prior} if any(True for _ in self.prior.parameters()) else {}
        return {"encoder": self.encoder, "decoder": self.decoder, **learned}

    def posterior(self, batch: Batch) -> Independent:
        """q(z|x): a diagonal Gaussian, batch shape (B,), event shape (latent_dim,)."""
        outputs = self.in_use(self.encoder)(batch.images, batch.labels)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # log densities need all their digits
        mean, raw_scale = outputs.chunk(2, dim=1)
        return diagonal_normal(mean, softplus(raw_scale) + 1e-4)  # never a scale of zero

    def likelihood_of(self, latents: Latents, batch: Batch) -> Tensor:
        """log p(x|z), (B,), nats per image."""
        parameters = self.in_use(self.decoder)(latents.z, latents.labels)
        return self.in_use(self.likelihood).log_prob(parameters, batch.images)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The loss to descend and its terms, each a mean over the batch, in nats per image."""
        posterior = self.posterior(batch)
        prior = self.in_use(self.prior).distribution(self.posterior)
        z = posterior.rsample()
        reconstruction = -self.likelihood_of(Latents(z, batch.labels), batch).mean()
        parts = kl_by_dimension(posterior, prior)  # (B, latent_dim), nats
        if parts is None:  # a total that does not part by dimension is spread over all of them
            parts = kl(posterior, prior, z).unsqueeze(1).expand(z.shape) / z.shape[1]
        total = parts.sum(dim=1).mean()
        return {
            "loss": reconstruction + self.rate(parts, self.images_seen),
            "elbo": -(reconstruction + total),
            "reconstruction": reconstruction,
            "kl": total,
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(Batch(*batch))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(Batch(*batch))

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)

    @property
    def latents_from(self) -> str:
        return self.density.name

    @property
    def latents_are_fitted(self) -> bool:
        return self.density.is_fitted(self.images_seen)

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit the density to draws from the posteriors of training images; of no more of them than it asks for."""
        self.density.fit(self.draws(batches, DRAWS), self.draws(held_out, 1), self.images_seen)
        if dist.is_initialized():  # each process has fitted the same; let none differ by a rounding
            for tensor in self.density.state_dict().values():
                dist.broadcast(tensor, src=0)

    def draws(self, batches: Iterable[Batch], times: int) -> Iterator[Latents]:
        """z ~ q(z|x), one of each image, with its label where the model knows labels; then another, `times` in all."""
        posteriors: list[tuple[Independent, Tensor | None]] = []
        for batch in batches:
            posteriors.append((self.posterior(batch), None if self.num_classes is None else batch.labels))
            yield Latents(posteriors[-1][0].sample(), posteriors[-1][1])
        for _ in range(times - 1):
            for posterior, labels in posteriors:
                yield Latents(posterior.sample(), labels)

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        return self.density.sample(n, self.in_use(self.prior).distribution(self.posterior), labels)

    def decode(self, latents: Latents) -> Tensor:
        return self.in_use(self.likelihood).mean(self.in_use(self.decoder)(latents.z, latents.labels))

    def encode(self, batch: Batch) -> Latents:
        """Images in [0, 1] to the means of their posteriors."""
        labels = None if self.num_classes is None else batch.labels
        return Latents(self.posterior(batch).mean, labels)

    @property
    def likelihood_kind(self) -> str:
        return self.likelihood.kind

    @property
    def is_over_bytes(self) -> bool:
        return self.likelihood.is_over_bytes

    def log_importance_weights(self, batch: Batch, num_samples: int) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of draws z ~ q(z|x): (num_samples, B), nats per image.

        The log of their mean estimates log p(x) from below, ever closer with more samples (Burda et al. 2016,
        arXiv:1509.00519). p(z) is the prior, whatever density latents are drawn from to make images.
        """
        posterior = self.posterior(batch)
        prior = self.in_use(self.prior).distribution(self.posterior)
        z = posterior.sample((num_samples,))  # (num_samples, B, latent_dim)
        repeated = batch.repeat(num_samples)
        log_likelihood = self.likelihood_of(Latents(z.flatten(0, 1), repeated.labels), repeated)
        log_joint = log_likelihood + prior.log_prob(z.flatten(0, 1))
        return log_joint.view(num_samples, -1) - posterior.log_prob(z)

    def kl_by_dimension(self, batch: Batch) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, latent_dim), nats; None where it does not part so."""
        return kl_by_dimension(self.posterior(batch), self.in_use(self.prior).distribution(self.posterior))

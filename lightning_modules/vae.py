"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

from collections.abc import Callable, Iterable
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn
from torch.optim import Optimizer

from .clippings import Clipping
from .conditioning import Conditioning
from .densities import Density
from .likelihoods import Likelihood
from .priors import Prior, kl_by_dimension
from .rates import Rate
from .schedules import Schedule
from .values import Batch, Latents
from .variational import VariationalModel


class VAE(VariationalModel):
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
        return {"encoder": self.encoder, "decoder": self.decoder, **self.learned_prior}

    def likelihood_of(self, latents: Latents, batch: Batch) -> Tensor:
        """log p(x|z), (B,), nats per image."""
        parameters = self.in_use(self.decoder)(latents.z, latents.labels)
        return self.in_use(self.likelihood).log_prob(parameters, batch.images)

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The loss to descend and its terms, each a mean over the batch, in nats per image."""
        posterior = self.posterior(batch)
        z = posterior.rsample()
        reconstruction = -self.likelihood_of(Latents(z, batch.labels), batch).mean()
        parts = self.kl_parts(posterior, z)
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

    def decode(self, latents: Latents) -> Tensor:
        return self.in_use(self.likelihood).mean(self.in_use(self.decoder)(latents.z, latents.labels))

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
        prior = self.latent_prior()
        z = posterior.sample((num_samples,))  # (num_samples, B, latent_dim)
        repeated = batch.repeat(num_samples)
        log_likelihood = self.likelihood_of(Latents(z.flatten(0, 1), repeated.labels), repeated)
        log_joint = log_likelihood + prior.log_prob(z.flatten(0, 1))
        return log_joint.view(num_samples, -1) - posterior.log_prob(z)

    def kl_by_dimension(self, batch: Batch) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, latent_dim), nats; None where it does not part so."""
        return kl_by_dimension(self.posterior(batch), self.latent_prior())

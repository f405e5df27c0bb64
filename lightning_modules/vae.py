"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.optim import Optimizer

from foundation.ranges import Dimension, Parameters

from .clippings import Clipping
from .conditioning import Conditioning
from .densities import Density
from .likelihoods import Likelihood
from .networks.budget import within_budget
from .objectives import Draws, Objective
from .priors import Prior, kl_by_dimension, kl_parts
from .rates import Rate
from .schedules import Schedule
from .terms import NATS, Term, Terms
from .values import Batch, Latents
from .variational import VariationalModel


class VAE(VariationalModel):
    """Ascends a bound on log p(x), in nats per image: the ELBO, E_q[log p(x|z)] − KL(q(z|x) ‖ p(z)), or a tighter one.

    The loss pays for the KL what the `rate` asks: with β = 1 it is the negative bound.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Dimension,
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        parameters: Parameters | None,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        conditioning: Callable[..., Conditioning],
        likelihood: Likelihood,
        objective: Objective,
        rate: Rate,
        prior: Callable[..., Prior],
        density: Callable[..., Density],
        schedule: Schedule,
        clipping: Clipping,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        roles = conditioning()
        super().__init__(image_shape, (latent_dim,), roles.num_classes, ema_half_life, ema_ramp_up, schedule, clipping)
        self.encoder = within_budget(parameters, roles.encoder, encoder, self.image_shape, 2 * latent_dim)
        channels, height, width = self.image_shape
        outputs = (likelihood.num_outputs(channels), height, width)
        self.decoder = within_budget(parameters, roles.decoder, decoder, outputs, latent_dim)
        self.likelihood = likelihood
        self.bound = objective
        self.rate = rate
        self.prior = prior(latent_dim=latent_dim)
        self.density = density(latent_dim=latent_dim, num_classes=self.num_classes)
        self.optimizer = optimizer
        self.keep_averages("encoder", "decoder", "likelihood", "prior")

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder, **self.learned_prior}

    @property
    def terms(self) -> Terms:
        return {
            "loss": Term("loss", NATS),
            "elbo": Term("ELBO", NATS),
            "reconstruction": Term("−log p(x|z)", NATS),
            "kl": Term("KL(q(z|x) ‖ p(z))", NATS, low=0),
        }

    def draw(self, batch: Batch, posterior: Independent, prior: Distribution, num_samples: int) -> Draws:
        """Draws z ~ q(z|x), as many for each image, through which gradients flow to the posterior."""
        z = posterior.rsample((num_samples,))  # (num_samples, B, latent_dim)
        repeated = batch.repeat(num_samples)
        parameters = self.parameters_of(Latents(z.flatten(0, 1), repeated.labels))
        log_likelihood = self.in_use(self.likelihood).log_prob(parameters, repeated.images)
        return Draws(posterior, prior, z, log_likelihood.view(num_samples, -1))

    def objective(self, batch: Batch) -> dict[str, Tensor]:
        """The loss to descend and its terms, each a mean over the batch, in nats per image."""
        posterior = self.posterior(batch)
        prior = self.latent_prior()
        draws = self.draw(batch, posterior, prior, self.bound.num_samples)
        reconstruction = -draws.log_likelihood.mean()
        parts = kl_parts(posterior, prior, draws.z[0])
        total = parts.sum(dim=1).mean()
        return {
            "loss": self.bound(draws, total, self.rate(parts, self.images_seen)),
            "elbo": -(reconstruction + total),
            "reconstruction": reconstruction,
            "kl": total,
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        terms = self.objective(Batch(*batch))
        self.likelihood.follow(len(batch[0]))
        return terms

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(Batch(*batch))

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)

    @property
    def likelihood_kind(self) -> str:
        return self.likelihood.kind

    @property
    def is_over_bytes(self) -> bool:
        return self.likelihood.is_over_bytes

    @torch.no_grad()
    def log_importance_weights(self, batch: Batch, num_samples: int, at_once: int) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of draws z ~ q(z|x): (num_samples, B), nats per image.

        The log of their mean estimates log p(x) from below, ever closer with more samples (Burda et al. 2016,
        arXiv:1509.00519). p(z) is the prior, whatever density latents are drawn from to make images.
        """
        posterior = self.posterior(batch)
        # One prior for all draws: making VampPrior's takes a network as much work as its many pseudo-inputs.
        prior = self.latent_prior()
        parts = torch.arange(num_samples).split(max(1, at_once // len(batch)))
        return torch.cat([self.draw(batch, posterior, prior, len(part)).log_weights for part in parts])

    def kl_by_dimension(self, batch: Batch) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, latent_dim), nats; None where it does not part so."""
        return kl_by_dimension(self.posterior(batch), self.latent_prior())

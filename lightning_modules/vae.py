"""Variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114)."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import softplus
from torch.optim import Optimizer

from .generative_model import GenerativeModel
from .likelihoods import Likelihood
from .priors import Prior


class VAE(GenerativeModel):
    """Ascends the ELBO, log p(x) ≥ E_q[log p(x|z)] − β KL(q(z|x) ‖ p(z)), in nats per image (β = 1)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        beta: float,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        likelihood: Likelihood,
        prior: Callable[..., Prior],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        super().__init__(image_shape, latent_dim)
        self.beta = beta
        self.encoder = encoder(image_shape=self.image_shape, num_outputs=2 * latent_dim)
        self.decoder = decoder(image_shape=self.image_shape, latent_dim=latent_dim)
        self.likelihood = likelihood
        self.prior = prior(latent_dim=latent_dim)
        self.optimizer = optimizer

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def posterior(self, images: Tensor) -> Normal:
        """q(z|x): a diagonal Gaussian, batch shape (B, latent_dim)."""
        mean, raw_scale = self.encoder(images).chunk(2, dim=1)
        return Normal(mean, softplus(raw_scale) + 1e-4, validate_args=False)  # never a scale of zero

    def objective(self, images: Tensor) -> dict[str, Tensor]:
        """The loss to descend and its terms, each a mean over the batch, in nats per image."""
        posterior = self.posterior(images)
        z = posterior.rsample()
        reconstruction = -self.likelihood.log_prob(self.decoder(z), images).mean()
        kl = self.prior.kl(posterior, z).mean()
        return {
            "loss": reconstruction + self.beta * kl,
            "elbo": -(reconstruction + kl),
            "reconstruction": reconstruction,
            "kl": kl,
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, _ = batch
        return self.objective(images)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, _ = batch
        return self.objective(images)

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(self.parameters())

    def sample_latents(self, n: int) -> Tensor:
        return self.prior.sample(n)

    def decode(self, z: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z))

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to the mean of their posterior, (B, latent_dim)."""
        return self.posterior(images).mean

    def log_importance_weights(self, images: Tensor, num_samples: int) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of draws z ~ q(z|x): (num_samples, B), nats per image.

        The log of their mean estimates log p(x) from below, ever closer with more samples (Burda et al. 2016,
        arXiv:1509.00519).
        """
        posterior = self.posterior(images)
        z = posterior.sample((num_samples,))  # (num_samples, B, latent_dim)
        flat, repeated = z.flatten(0, 1), images.repeat(num_samples, 1, 1, 1)
        log_joint = self.likelihood.log_prob(self.decoder(flat), repeated) + self.prior.log_prob(flat)
        return log_joint.view(num_samples, -1) - posterior.log_prob(z).sum(dim=2)

    def kl_by_dimension(self, images: Tensor) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, latent_dim), nats; None where it does not part so."""
        return self.prior.kl_by_dimension(self.posterior(images))

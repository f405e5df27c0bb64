"""VAE-GAN: a VAE whose likelihood is of a discriminator's features (Larsen et al. 2016, arXiv:1512.09300)."""

from collections.abc import Callable, Iterable
from typing import Annotated, cast

import torch
from annotated_types import Ge, Gt
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from foundation.ranges import Dimension, Parameters

from .adversarial import AdversarialModel, signed
from .augmentations import Augmentation
from .clippings import Clipping
from .conditioning import Conditioning
from .constraints import Constraint
from .densities import Density
from .likelihoods import Likelihood
from .losses import AdversarialLoss
from .networks.budget import within_budget
from .networks.features import features
from .penalties import Penalty
from .priors import Prior, kl_parts
from .rates import Rate
from .schedules import Schedule
from .terms import NATS, Term, Terms
from .values import Batch, Latents
from .variational import VariationalModel

ADVERSARIAL_GRADIENT = "adversarial_gradient"  # a term: what of the decoder's gradient is the discriminator's


class VAEGAN(VariationalModel, AdversarialModel):
    """Three players: an encoder, a decoder that is the generator, and a discriminator (algorithm 1).

    The encoder descends the price of the KL and −log p(features of x | z); the decoder `feature_weight` times the
    latter and the adversarial loss; the discriminator tells real images from reconstructions and samples.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Dimension,
        feature_weight: Annotated[float, Ge(0)],
        feature_scale: Annotated[float, Gt(0)],
        pixel_weight: Annotated[float, Ge(0)],
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        parameters: Parameters | None,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        conditioning: Callable[..., Conditioning],
        likelihood: Likelihood,
        rate: Rate,
        prior: Callable[..., Prior],
        density: Callable[..., Density],
        constraint: Constraint,
        augmentation: Augmentation,
        loss: AdversarialLoss,
        penalty: Penalty,
        schedule: Schedule,
        clipping: Clipping,
        encoder_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        decoder_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        """`feature_weight`: γ of the paper. `feature_scale`: of the Gaussian, in the features' root mean square.

        `pixel_weight`: of the pixels' own likelihood, which encoder and decoder ascend as well; the paper has none.
        """
        roles = conditioning()
        super().__init__(image_shape, (latent_dim,), roles.num_classes, ema_half_life, ema_ramp_up, schedule, clipping)
        self.automatic_optimization = False
        self.feature_weight, self.feature_scale, self.pixel_weight = feature_weight, feature_scale, pixel_weight
        channels, height, width = self.image_shape
        outputs = (likelihood.num_outputs(channels), height, width)
        self.encoder = within_budget(parameters, roles.encoder, encoder, self.image_shape, 2 * latent_dim)
        self.decoder = within_budget(parameters, roles.decoder, decoder, outputs, latent_dim)
        self.discriminator = within_budget(parameters, roles.discriminator, discriminator, self.image_shape)
        self.constraint = constraint
        self.constraint(self.discriminator)
        self.likelihood = likelihood
        self.rate = rate
        self.prior = prior(latent_dim=latent_dim)
        self.density = density(latent_dim=latent_dim, num_classes=self.num_classes)
        self.augmentation = augmentation
        self.loss, self.penalty = loss, penalty
        self.encoder_optimizer = encoder_optimizer
        self.decoder_optimizer = decoder_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self._fakes: Tensor | None = None  # while the decoder steps
        self.keep_averages("encoder", "decoder", "likelihood", "prior")

    @property
    def networks(self) -> dict[str, nn.Module]:
        networks = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}
        return networks | self.learned_prior

    @property
    def terms(self) -> Terms:
        return super().terms | {
            "loss_encoder": Term("the encoder's loss", NATS),
            "loss_decoder": Term("the decoder's loss"),
            ADVERSARIAL_GRADIENT: Term("the adversarial gradient at the fakes", "norm", low=0, by_factors=True),
            "kl": Term("KL(q(z|x) ‖ p(z))", NATS, low=0),
            "features": Term("−log p(features of x|z)", NATS, low=0),
            "pixels": Term("−log p(x|z)", NATS),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        real = Batch(*batch)
        z, terms = self.encoder_step(real)
        fake, more = self.decoder_step(real, z.detach())
        self.likelihood.follow(len(real))  # once, though encoder and decoder have both asked it
        return terms | more | self.discriminator_step(signed(real), fake.detach())

    def encoder_step(self, real: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        optimizer, _, _ = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            z, terms = self.encoder_objective(real)
            self.descend(optimizer, terms["loss_encoder"])
        return z, terms

    def decoder_step(self, real: Batch, z: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        _, optimizer, _ = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            fake, terms = self.decoder_objective(real, z)
            fake.images.retain_grad()  # only the adversarial loss comes through here
            self._fakes = fake.images
            try:
                self.descend(optimizer, terms["loss_decoder"])
            finally:
                self._fakes = None
        return fake, terms

    def gradient_terms(self) -> dict[str, Tensor]:
        """In the decoder's step the norm of the adversarial gradient; else nothing."""
        if self._fakes is None or self._fakes.grad is None:
            return {}
        return {ADVERSARIAL_GRADIENT: self.unscaled_norm(self._fakes.grad)}

    def unscaled_norm(self, gradient: Tensor) -> Tensor:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        norm = gradient.detach().float().norm()
        return norm if scaler is None else norm / scaler.scale(norm.new_ones(()))  # fp16 has made it larger

    def encoder_objective(self, real: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw z ~ q(z|x), (B, latent_dim), and what the encoder descends, `loss_encoder`, nats per image."""
        posterior = self.posterior(real)
        z = posterior.rsample()
        parts = kl_parts(posterior, self.latent_prior(), z)
        unexplained = self.unexplained(real, self.parameters_of(Latents(z, real.labels)))
        loss = self.rate(parts, self.images_seen) + unexplained["features"] + self.pixel_weight * unexplained["pixels"]
        return z, {"loss_encoder": loss, "kl": parts.sum(dim=1).mean(), **unexplained}

    def decoder_objective(self, real: Batch, z: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """Signed fakes, as many as there are real images, and what the decoder descends, `loss_decoder`.

        Of the fakes the first half are reconstructions by the latents z, (B, latent_dim), the others samples from the
        prior; all have the labels of the real images.
        """
        latents = torch.cat([z, self.latent_prior().sample((len(z),))])
        labels = None if real.labels is None else real.labels.repeat(2)
        outputs = self.parameters_of(Latents(latents, labels))  # of one pass: one batch to a norm
        reconstructed, sampled = outputs.chunk(2)
        half = len(real) // 2
        images = self.images_of(torch.cat([reconstructed[:half], sampled[half:]]))
        fake = signed(real.with_images(images))
        terms = self.generator_objective(signed(real), fake)
        unexplained = self.unexplained(real, reconstructed)
        loss = (
            terms["loss_generator"]
            + self.feature_weight * unexplained["features"]
            + self.pixel_weight * unexplained["pixels"]
        )
        return fake, {"loss_decoder": loss, **terms}

    def unexplained(self, real: Batch, parameters: Tensor) -> dict[str, Tensor]:
        """−log p(features of x | z) and −log p(x | z), nats, means over the batch, given the decoder's output."""
        log_prob = self.in_use(self.likelihood).log_prob(parameters, real.images)
        return {
            "features": self.feature_distance(real.images, self.images_of(parameters)).mean(),
            "pixels": -log_prob.mean(),
        }

    def feature_distance(self, images: Tensor, reconstructed: Tensor) -> Tensor:
        """−log N(φ(x) | φ(x̃), scale² I) but for its constant, (B,), nats: eq. 7, φ being the discriminator's features.

        Nothing holds a discriminator to a size of its features, so they are measured in their root mean square over
        the batch. They are asked of images as they are: augmentations would differ between the two.
        """
        expected, found = (self.features(pixels) for pixels in (images, reconstructed))
        unit = self.feature_scale * expected.square().mean().sqrt()
        return ((found - expected) / unit).square().sum(dim=1) / 2

    def features(self, images: Tensor) -> Tensor:
        """Images in [0, 1] to what the discriminator's last layer sees of them: (B, F)."""
        found = features(cast(nn.Sequential, self.discriminator.network), signed(Batch(images)).images)
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The encoder's terms, and both players' losses on samples from the prior, as a GAN's validation has them."""
        real = Batch(*batch)
        _, terms = self.encoder_objective(real)
        latents = Latents(self.latent_prior().sample((len(real),)), self.known_labels(real))
        return terms | self.judged(signed(real), signed(real.with_images(self.decode(latents))))

    test_step = validation_step

    def configure_optimizers(self) -> list[Optimizer]:
        return [
            self.encoder_optimizer([*self.encoder.parameters(), *self.prior.parameters()]),
            self.decoder_optimizer([*self.decoder.parameters(), *self.likelihood.parameters()]),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]

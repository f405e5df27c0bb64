"""VAE-GAN: a VAE whose likelihood is of a discriminator's features (Larsen et al. 2016, arXiv:1512.09300)."""

from collections.abc import Callable, Iterable
from typing import Annotated, cast

import torch
from annotated_types import Ge, Gt
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from .adversarial import AdversarialModel, signed
from .augmentations import Augmentation
from .conditioning import Conditioning
from .constraints import Constraint
from .densities import Density
from .likelihoods import Likelihood
from .losses import AdversarialLoss
from .penalties import Penalty
from .priors import Prior
from .rates import Rate
from .values import Batch, Latents
from .variational import VariationalModel


class VAEGAN(VariationalModel, AdversarialModel):
    """Three players: an encoder, a decoder that is the generator, and a discriminator (algorithm 1).

    The encoder descends the price of the KL and −log p(features of x | z); the decoder `feature_weight` times the
    latter and the adversarial loss; the discriminator tells real images from reconstructions and samples.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Annotated[int, Ge(1)],
        feature_weight: Annotated[float, Ge(0)],
        feature_scale: Annotated[float, Gt(0)],
        pixel_weight: Annotated[float, Ge(0)],
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
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
        encoder_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        decoder_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        """`feature_weight`: γ of the paper. `feature_scale`: of a feature's Gaussian, in the features' root mean square.

        `pixel_weight`: of the pixels' own likelihood, which encoder and decoder ascend as well; the paper has none.
        """
        roles = conditioning()
        super().__init__(image_shape, (latent_dim,), roles.num_classes, ema_half_life, ema_ramp_up)
        self.automatic_optimization = False
        self.encoder = roles.encoder(encoder, self.image_shape, num_outputs=2 * latent_dim)
        self.decoder = roles.decoder(decoder, self.image_shape, latent_dim)
        self.discriminator = roles.discriminator(discriminator, self.image_shape)
        self.feature_weight, self.feature_scale, self.pixel_weight = feature_weight, feature_scale, pixel_weight
        constraint(self.discriminator)
        self.likelihood = likelihood
        self.rate = rate
        self.prior = prior(latent_dim=latent_dim)
        self.density = density(latent_dim=latent_dim, num_classes=self.num_classes)
        self.augmentation = augmentation
        self.loss, self.penalty = loss, penalty
        self.encoder_optimizer = encoder_optimizer
        self.decoder_optimizer = decoder_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.keep_averages("encoder", "decoder", "likelihood", "prior")

    @property
    def networks(self) -> dict[str, nn.Module]:
        networks = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}
        return networks | self.learned_prior

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        real = Batch(*batch)
        z, terms = self.encoder_step(real)
        fake, more = self.decoder_step(real, z.detach())
        return terms | more | self.discriminator_step(signed(real), fake.detach())

    def encoder_step(self, real: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        optimizer, _, _ = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            z, terms = self.encoder_objective(real)
            optimizer.zero_grad()
            self.manual_backward(terms["loss_encoder"])
            optimizer.step()
        return z, terms

    def decoder_step(self, real: Batch, z: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        _, optimizer, _ = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            fake, terms = self.decoder_objective(real, z)
            optimizer.zero_grad()
            self.manual_backward(terms["loss_decoder"])
            optimizer.step()
        return fake, terms

    def encoder_objective(self, real: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """A draw z ~ q(z|x), (B, latent_dim), and what the encoder descends, `loss_encoder`, nats per image."""
        posterior = self.posterior(real)
        z = posterior.rsample()
        parts = self.kl_parts(posterior, z)
        parameters = self.in_use(self.decoder)(z, real.labels)
        explained = self.explained(real, parameters)
        loss = self.rate(parts, self.images_seen) + explained["features"] + self.pixel_weight * explained["pixels"]
        return z, {"loss_encoder": loss, "kl": parts.sum(dim=1).mean(), **explained}

    def decoder_objective(self, real: Batch, z: Tensor) -> tuple[Batch, dict[str, Tensor]]:
        """Signed fakes, as many as there are real images, and what the decoder descends, `loss_decoder`.

        The first half of them are reconstructions by these z, the others samples: of the labels of the real images.
        """
        drawn = self.latent_prior().sample((len(z),))
        labels = None if real.labels is None else real.labels.repeat(2)
        parameters = self.in_use(self.decoder)(torch.cat([z, drawn]), labels)  # in one pass: one batch to a norm
        reconstructed, sampled = parameters.chunk(2)
        explained = self.explained(real, reconstructed)
        half = len(real) // 2
        fake = signed(real.with_images(self.images_of(torch.cat([reconstructed[:half], sampled[half:]]))))
        terms = self.generator_objective(signed(real), fake)
        loss = (
            self.feature_weight * explained["features"]
            + self.pixel_weight * explained["pixels"]
            + terms["loss_generator"]
        )
        return fake, {"loss_decoder": loss, **terms}

    def explained(self, real: Batch, parameters: Tensor) -> dict[str, Tensor]:
        """−log p(features of x | z) and −log p(x | z), means over the batch, given the decoder's output."""
        features = self.feature_log_prob(real, real.with_images(self.images_of(parameters)))
        pixels = self.in_use(self.likelihood).log_prob(parameters, real.images)
        return {"features": -features.mean(), "pixels": -pixels.mean()}

    def feature_log_prob(self, real: Batch, reconstructed: Batch) -> Tensor:
        """Of the features of images in [0, 1], given those of their reconstructions: (B,), nats but for a constant.

        Features are those before the discriminator's last layer, asked of images without augmentation. Nothing holds
        a discriminator to a size of features, so they are measured by their root mean square over the batch.
        """
        found, expected = self.features(reconstructed), self.features(real).detach()
        unit = self.feature_scale * expected.square().mean().sqrt()
        return -((found - expected) / unit).square().sum(dim=1) / 2

    def features(self, batch: Batch) -> Tensor:
        import os
        k = int(os.environ.get("LAYER", "1"))
        x = signed(batch).images
        for layer in list(self.discriminator.network)[:-k]:
            x = layer(x)
        return x.flatten(1)

    def images_of(self, parameters: Tensor) -> Tensor:
        return self.in_use(self.likelihood).mean(parameters)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        real = Batch(*batch)
        posterior = self.posterior(real)
        z = posterior.rsample()
        explained = self.explained(real, self.in_use(self.decoder)(z, real.labels))
        latents = Latents(self.latent_prior().sample((len(real),)), self.known_labels(real))
        sampled = real.with_images(self.decode(latents))
        return {"kl": self.kl_parts(posterior, z).sum(dim=1).mean(), **explained} | self.judged(
            signed(real), signed(sampled)
        )

    test_step = validation_step

    def configure_optimizers(self) -> list[Optimizer]:
        return [
            self.encoder_optimizer([*self.encoder.parameters(), *self.prior.parameters()]),
            self.decoder_optimizer([*self.decoder.parameters(), *self.likelihood.parameters()]),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]

    def decode(self, latents: Latents) -> Tensor:
        return self.images_of(self.in_use(self.decoder)(latents.z, latents.labels))

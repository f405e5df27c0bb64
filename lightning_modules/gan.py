"""Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .averaging import ExponentialMovingAverage
from .generative_model import GenerativeModel
from .losses import AdversarialLoss
from .penalties import Penalty


class GAN(GenerativeModel):
    """A generator and a discriminator, each with its own optimizer, and the generator's moving average.

    The networks work on pixels in [-1, 1]; images are in [0, 1] at every door of this class.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        n_critic: int,
        ema_half_life: float,
        ema_ramp_up: float,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        loss: AdversarialLoss,
        penalty: Penalty,
        generator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        super().__init__(image_shape, latent_dim)
        self.automatic_optimization = False
        self.n_critic = self.optimizers_period = n_critic
        self.generator = nn.Sequential(generator(image_shape=self.image_shape, latent_dim=latent_dim), nn.Tanh())
        self.discriminator = discriminator(image_shape=self.image_shape, num_outputs=1)
        self.averaged_generator = ExponentialMovingAverage(self.generator, ema_half_life, ema_ramp_up)
        self.decodes_averaged = ema_half_life > 0
        self.loss, self.penalty = loss, penalty
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def compile_networks(self) -> None:
        super().compile_networks()
        self.penalty = torch.compile(self.penalty)  # a gradient's gradient is compiled as a whole or not at all

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, _ = batch
        real = to_signed(images)
        generator_is_due = (self.trainer.fit_loop.epoch_loop.total_batch_idx + 1) % self.n_critic == 0
        with torch.set_grad_enabled(generator_is_due):
            fake = self.generator(self.sample_latents(len(real)))  # this one forward serves both players
        terms = self.discriminator_step(real, fake.detach())
        if generator_is_due:
            terms |= self.generator_step(fake)
        return terms

    def discriminator_step(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        _, optimizer = self.optimizers()
        with self.toggled_optimizer(optimizer):
            real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
            loss = self.loss.discriminator(real_logits, fake_logits)
            penalty = self.penalty(self.discriminator, real, fake)
            optimizer.zero_grad()
            self.manual_backward(loss + penalty)
            optimizer.step()
        return {"loss_discriminator": loss, "penalty": penalty} | judgement(real_logits, fake_logits)

    def generator_step(self, fake: Tensor) -> dict[str, Tensor]:
        optimizer, _ = self.optimizers()
        with self.toggled_optimizer(optimizer):
            loss = self.loss.generator(self.discriminator(fake))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        images = len(fake) * self.n_critic * self.trainer.world_size
        self.averaged_generator.update(self.generator, images, self.images_seen)
        return {"loss_generator": loss}

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Both losses on held-out images: a D(x) far below training's says that the discriminator overfits."""
        images, _ = batch
        fake = to_signed(self.decode(self.sample_latents(len(images))))
        real_logits, fake_logits = self.discriminator(to_signed(images)), self.discriminator(fake)
        return {
            "loss_discriminator": self.loss.discriminator(real_logits, fake_logits),
            "loss_generator": self.loss.generator(fake_logits),
        } | judgement(real_logits, fake_logits)

    test_step = validation_step

    def configure_optimizers(self) -> list[Optimizer]:
        return [
            self.generator_optimizer(self.generator.parameters()),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]

    def sample_latents(self, n: int) -> Tensor:
        return torch.randn(n, self.latent_dim, device=self.device)

    def decode(self, z: Tensor) -> Tensor:
        generator = self.generator if self.training else self.averaged_generator
        return (generator(z) + 1) / 2


def to_signed(images: Tensor) -> Tensor:
    """Pixels in [0, 1] to the generator's range, [-1, 1]."""
    return images * 2 - 1


def judgement(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """D(x) and D(G(z)): the mean probability of being real, in [0, 1]; of a critic, its squashed verdict."""
    return {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}

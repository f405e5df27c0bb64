"""Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661)."""

from collections.abc import Callable, Iterable
from typing import Annotated, cast

import torch
from annotated_types import Ge, Gt
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn.init import trunc_normal_
from torch.optim import Optimizer

from foundation.ranges import Count, Dimension, Parameters

from .adversarial import AdversarialModel, signed
from .augmentations import Augmentation
from .clippings import Clipping
from .conditioning import Conditioning
from .constraints import Constraint
from .losses import AdversarialLoss
from .networks.budget import within_budget
from .penalties import Penalty
from .schedules import Schedule
from .values import Batch, Latents


class GAN(AdversarialModel):
    """A generator and a discriminator, each with its own optimizer.

    The networks work on pixels in [-1, 1], here called signed; images are in [0, 1] at every door of this class.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: Dimension,
        n_critic: Count,
        truncation: Annotated[float, Gt(0)] | None,
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        parameters: Parameters | None,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        conditioning: Callable[..., Conditioning],
        constraint: Constraint,
        augmentation: Augmentation,
        loss: AdversarialLoss,
        penalty: Penalty,
        schedule: Schedule,
        clipping: Clipping,
        generator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        discriminator_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        """`truncation`: outside training, components of z beyond it are drawn anew; null: none is (Brock et al. 2019,
        arXiv:1809.11096, section 3.1).
        """
        roles = conditioning()
        super().__init__(image_shape, (latent_dim,), roles.num_classes, ema_half_life, ema_ramp_up, schedule, clipping)
        self.automatic_optimization = False
        self.n_critic = self.optimizers_period = n_critic
        self.truncation = truncation
        self.generator = within_budget(parameters, roles.decoder, generator, self.image_shape, latent_dim)
        self.discriminator = within_budget(parameters, roles.discriminator, discriminator, self.image_shape)
        self.constraint = constraint
        self.constraint(self.discriminator)
        self.augmentation = augmentation
        self.loss, self.penalty = loss, penalty
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.keep_averages("generator")

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        real = signed(Batch(*batch))
        with torch.set_grad_enabled(self.generator_is_due()):
            fake = self.fakes(self.sample_latents(len(real), real.labels))  # this forward serves both players
        terms = self.discriminator_step(real, fake.detach())
        if self.generator_is_due():
            terms |= self.generator_step(real, fake)
        return terms

    def generator_is_due(self) -> bool:
        """Whether the batch in work is one of those, one in `n_critic`, in which the generator steps too."""
        return (self.trainer.fit_loop.epoch_loop.total_batch_idx + 1) % self.n_critic == 0

    averages_are_due = generator_is_due

    def generator_step(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        optimizer, _ = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            terms = self.generator_objective(real, fake)
            self.descend(optimizer, terms["loss_generator"])
        return terms

    def fakes(self, latents: Latents) -> Batch:
        """Latents to signed images with their labels; with averaged weights outside training."""
        return Batch(self.in_use(self.generator)(latents.z, latents.labels).tanh(), latents.labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Both losses on held-out images: a D(x) far below training's says that the discriminator overfits.

        In training the discriminator sees images through the augmentation, here as they are.
        """
        real = signed(Batch(*batch))
        latents = self.sample_latents(len(real), real.labels)
        fake = signed(Batch(self.decode(latents), latents.labels))
        return self.judged(real, fake)

    test_step = validation_step

    def configure_optimizers(self) -> list[Optimizer]:
        return [
            self.generator_optimizer(self.generator.parameters()),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        z = torch.randn(n, *self.latent_shape, device=self.device)
        if self.training or self.truncation is None:
            return z
        return trunc_normal_(z, a=-self.truncation, b=self.truncation)

    @property
    def latents_from(self) -> str:
        return "prior" if self.truncation is None else f"prior, truncated at {self.truncation:g}"

    def decode(self, latents: Latents) -> Tensor:
        return (self.fakes(latents).images + 1) / 2

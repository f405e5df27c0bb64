"""What models share that have a discriminator judge their images (Goodfellow et al. 2014, arXiv:1406.2661)."""

from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from .augmentations import Augmentation
from .constraints import Constraint
from .generative_model import GenerativeModel
from .losses import AdversarialLoss
from .penalties import Penalty
from .terms import Level, Term, Terms
from .values import Batch


class AdversarialModel(GenerativeModel, ABC):
    """A model whose constructor sets these parts, and whose last optimizer is the discriminator's.

    The discriminator sees pixels in [-1, 1], here called signed.
    """

    discriminator: nn.Module
    constraint: Constraint
    augmentation: Augmentation
    loss: AdversarialLoss
    penalty: Penalty
    short_descend: Callable[[LightningOptimizer, Tensor], None] | None = None  # `descend` as a trainer's loop does it

    @property
    def terms(self) -> Terms:
        rest, meaning = self.loss.equilibrium, "real and fake alike"

        def loss(title: str, level: Level | None) -> Term:
            return Term(title, self.loss.unit, level, meaning)

        def verdict(title: str) -> Term:
            return Term(title, "sigmoid of the logit", rest.verdict if rest else None, meaning, low=0, high=1)

        return {
            "loss_discriminator": loss("the discriminator's loss", rest.discriminator if rest else None),
            "loss_generator": loss("the generator's loss", rest.generator if rest else None),
            "d_real": verdict("D(x): real images"),
            "d_fake": verdict("D(G(z)): fakes"),
            "penalty": Term("the discriminator's penalty", low=0, by_factors=True),
        }

    def compile_networks(self) -> None:
        super().compile_networks()
        # A gradient's gradient is compiled in one piece or not at all.
        self.penalty = cast(Penalty, torch.compile(self.penalty))

    @contextmanager
    def toggled_optimizer(self, optimizer: Optimizer | LightningOptimizer) -> Iterator[None]:
        """Inside, the other players' weights need no gradients: Lightning's, without its table of all parameters."""
        own = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        others = [
            parameter
            for player in self.trainer.optimizers
            if player is not own
            for group in player.param_groups
            for parameter in group["params"]
            if parameter.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def descend(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        """One step of a player's optimizer down a loss."""
        if self.short_descend is not None:
            self.short_descend(optimizer, loss)
            return
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def discriminator_step(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        *_, optimizer = cast(list[LightningOptimizer], self.optimizers())
        with self.toggled_optimizer(optimizer):
            terms = self.discriminator_objective(real, fake)
            self.descend(optimizer, terms["loss_discriminator"] + terms["penalty"])
        self.constraint.project(self.discriminator)
        return terms

    def discriminator_objective(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """What the discriminator descends, `loss_discriminator` + `penalty`, and its judgement. Signed images."""
        real_logits, fake_logits = self.critic(real), self.critic(fake)
        return {
            "loss_discriminator": self.loss.discriminator(real_logits, fake_logits),
            "penalty": self.penalty(self.critic, real, fake),
        } | judgement(real_logits, fake_logits)

    def generator_objective(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """What the generator descends, `loss_generator`. Signed images."""
        real_logits = self.critic(real) if self.loss.needs_real_logits else None
        return {"loss_generator": self.loss.generator(self.critic(fake), real_logits)}

    def critic(self, batch: Batch) -> Tensor:
        """Signed images to logits (B, 1): the one way in which the discriminator is asked for its judgement."""
        return self.discriminator(self.augmentation(batch.images), batch.labels)

    def judged(self, real: Batch, fake: Batch) -> dict[str, Tensor]:
        """Both players' losses and the judgement, of signed images that no one learns from."""
        real_logits, fake_logits = self.critic(real), self.critic(fake)
        return {
            "loss_discriminator": self.loss.discriminator(real_logits, fake_logits),
            "loss_generator": self.loss.generator(fake_logits, real_logits),
        } | judgement(real_logits, fake_logits)


def signed(batch: Batch) -> Batch:
    """Pixels in [0, 1] to the discriminator's range, [-1, 1]."""
    return batch.with_images(batch.images * 2 - 1)


def judgement(real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
    """D(x) and D(G(z)): the mean probability of being real, in [0, 1]; of a critic, its squashed verdict."""
    return {"d_real": real_logits.sigmoid().mean(), "d_fake": fake_logits.sigmoid().mean()}

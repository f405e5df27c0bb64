"""Penalties on the discriminator: scalars added to its loss, already weighted."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from .values import Batch

Critic = Callable[[Batch], Tensor]  # a batch (B, …) to logits (B, 1): the discriminator as the losses see it


class Penalty(ABC):
    """A scalar, given the critic and the batches that it has just judged."""

    @abstractmethod
    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor: ...


class NoPenalty(Penalty):
    """The neutral element: zero."""

    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor:
        return real.images.new_zeros(())


class R1Penalty(Penalty):
    """weight / 2 · E[‖∇D(x)‖²] on real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).

    The mean is taken over the first `share` of the batch: the same in expectation, at that share of the cost.
    """

    def __init__(self, weight: Annotated[float, Ge(0)], share: Annotated[float, Interval(gt=0, le=1)]) -> None:
        self.weight, self.share = weight, share

    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor:
        return self.weight / 2 * squared_gradient_norm(critic, self.first(real)).mean()

    def first(self, batch: Batch) -> Batch:
        """The part of the batch that the mean is taken over."""
        return batch[: math.ceil(self.share * len(batch))]


class R1R2Penalty(R1Penalty):
    """weight / 2 · (E[‖∇D(x)‖²] + E[‖∇D(G(z))‖²]): R1 on real images and R2 on fake ones, of one weight, as in
    R3GAN (Huang et al. 2024, arXiv:2501.05441).
    """

    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor:
        return super().__call__(critic, real, fake) + super().__call__(critic, fake, real)


class GradientPenalty(Penalty):
    """weight · E[(‖∇D(x̂)‖ − 1)²], x̂ between real and fake (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028).

    With labels, x̂ has the real image's: a model that draws fakes with the labels of the real batch pairs them so.
    """

    def __init__(self, weight: Annotated[float, Ge(0)]) -> None:
        self.weight = weight

    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.images.device, dtype=real.images.dtype)
        between = real.with_images(torch.lerp(real.images, fake.images.to(real.images.dtype), share))
        return self.weight * squared_distance_from_slope_one(critic, between).mean()


class DraganPenalty(Penalty):
    """weight · E[(‖∇D(x + δ)‖ − 1)²], δ ~ N(0, noise²): around real images (DRAGAN, Kodali et al. 2017,
    arXiv:1705.07215, algorithm 1).
    """

    def __init__(self, weight: Annotated[float, Ge(0)], noise: Annotated[float, Ge(0)]) -> None:
        """`noise`: the standard deviation of every pixel's, pixels being in [-1, 1]."""
        self.weight, self.noise = weight, noise

    def __call__(self, critic: Critic, real: Batch, fake: Batch) -> Tensor:
        around = real.with_images(real.images + self.noise * torch.randn_like(real.images))
        return self.weight * squared_distance_from_slope_one(critic, around).mean()


def squared_distance_from_slope_one(critic: Critic, batch: Batch) -> Tensor:
    """(‖∇ₓ D(x)‖ − 1)² for each image: (B,)."""
    norm = (squared_gradient_norm(critic, batch) + 1e-12).sqrt()  # the square root's slope is infinite at zero
    return (norm - 1).square()


def squared_gradient_norm(critic: Critic, batch: Batch) -> Tensor:
    """‖∇ₓ D(x)‖² for each image: (B,), differentiable in the discriminator's weights."""
    images = batch.images.detach()
    if torch.compiler.is_compiling():  # autograd's gradient can't be differentiated when it is compiled
        gradient = torch.func.grad(lambda pixels: critic(batch.with_images(pixels)).sum())(images)
    else:  # torch.func's can't follow the running statistics of a batch norm
        images.requires_grad_()
        (gradient,) = torch.autograd.grad(critic(batch.with_images(images)).sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)

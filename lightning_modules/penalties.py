"""Penalties on the discriminator: scalars added to its loss, already weighted."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Penalty(ABC):
    """A scalar, given the discriminator and the batches (B, C, H, W) it has just judged."""

    @abstractmethod
    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor: ...


class NoPenalty(Penalty):
    """The neutral element: zero."""

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return real.new_zeros(())


class R1Penalty(Penalty):
    """weight / 2 · E[‖∇D(x)‖²] on real images (Mescheder et al. 2018, arXiv:1801.04406, eq. 9).

    The mean is taken over the first `share` of the batch, in (0, 1]: the same in expectation, at that share of
    the cost.
    """

    def __init__(self, weight: float, share: float) -> None:
        self.weight, self.share = weight, share

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        some = real[: math.ceil(self.share * len(real))]
        return self.weight / 2 * squared_gradient_norm(discriminator, some).mean()


class GradientPenalty(Penalty):
    """weight · E[(‖∇D(x̂)‖ − 1)²], x̂ between real and fake (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028)."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
        between = torch.lerp(real, fake, share)
        # The square root's slope is infinite at zero.
        norm = (squared_gradient_norm(discriminator, between) + 1e-12).sqrt()
        return self.weight * (norm - 1).square().mean()


def squared_gradient_norm(discriminator: nn.Module, images: Tensor) -> Tensor:
    """‖∇ₓ D(x)‖² for each image: (B,), differentiable in the discriminator's weights."""
    if torch.compiler.is_compiling():  # autograd's gradient can't be differentiated when it is compiled
        gradient = torch.func.grad(lambda pixels: discriminator(pixels).sum())(images.detach())
    else:  # torch.func's can't follow the running statistics of a batch norm
        images = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)

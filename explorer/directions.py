"""Directions among the latents that change images most.

Of latents z ~ N(m, s²) and a decoder with the Jacobian J, E[‖J v s‖²] is what moving along v by one standard deviation
changes of all pixels. It is the mean of (v·s·Jᵀr)² over pixels' noise r ~ N(0, 1), which one backward pass for each
image gives for all directions at once.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.observing import drawing_from
from lightning_modules.values import Latents

from .explored_run import DRAWING, ExploredRun

LATENTS, PASSES, AT_ONCE = 256, 4, 32  # whose images are moved, how often, and how many through the decoder together


class Directions(NamedTuple):
    """The directions that carry most, the first most of all."""

    vectors: Tensor  # (K, D), each as long as the latents' standard deviation there
    shares: Tensor  # (K,), of all that changes in images
    names: list[str]
    are_axes: bool  # components of z, and no mixtures of them


def main_directions(run: ExploredRun, count: int) -> Directions:
    """At most `count` directions.

    Of a model that encodes they are components of z: an encoder's posterior, whose components are independent, leads
    them to differ in what they mean. Those of a GAN mean nothing by themselves, as any rotation of them would do:
    there they are the axes of E[JᵀJ]. Raises UserError.
    """
    _, deviation = run.spread
    moved = pulled_back_noise(run) * deviation.cpu()  # (N, D)
    second_moment = moved.T @ moved / len(moved)
    total = second_moment.trace().clamp_min(1e-12)
    if run.encodes:
        carried, order = second_moment.diagonal().sort(descending=True)
        vectors = torch.diag(deviation.cpu())[order]
        names = [f"z[{index}]" for index in order.tolist()]
    else:
        ascending, axes = torch.linalg.eigh(second_moment)
        carried, vectors = ascending.flip(0), facing_up(axes.T.flip(0)) * deviation.cpu()
        names = [f"direction {index}" for index in range(1, len(carried) + 1)]
    return Directions(vectors[:count], carried[:count] / total, names[:count], run.encodes)


def facing_up(vectors: Tensor) -> Tensor:
    """Each of the vectors or its opposite: the one whose largest component is positive. An axis has no sign."""
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


def pulled_back_noise(run: ExploredRun) -> Tensor:
    """Jᵀr for noise r, (LATENTS · PASSES, D), float32 on the CPU; the same whenever it is drawn."""
    module = run.model.module
    found = []
    with DRAWING:
        latents = run.model.draw(LATENTS, seed=1)
        with drawing_from(1, run.model.device), torch.enable_grad():
            for part in list(latents.split(AT_ONCE)) * PASSES:
                z = part.z.clone().requires_grad_()
                images = module.decode(Latents(z, part.labels))
                (gradient,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), z)
                found.append(gradient.flatten(1).float().cpu())
    return torch.cat(found)


def moves(directions: Directions, values: list[float]) -> Tensor:
    """The vector, (D,), that leads along each direction by so many standard deviations."""
    return torch.tensor(values, dtype=torch.float32) @ directions.vectors


def traversals(directions: Directions, reach: float, steps: int) -> Tensor:
    """Vectors along one direction after another, from -`reach` to `reach` deviations: (K · steps, D)."""
    along = torch.linspace(-reach, reach, steps)
    return (along.view(1, -1, 1) * directions.vectors.unsqueeze(1)).flatten(0, 1)


def plane(directions: Directions, reach: float, side: int) -> Tensor:
    """Vectors over the plane of the first two directions, (side², D): to the right along the first, up along the other.

    Of a model of two latents these are the two.
    """
    along = torch.linspace(-reach, reach, side)
    up, right = torch.meshgrid(along.flip(0), along, indexing="ij")
    return torch.stack([right, up], dim=-1).view(-1, 2) @ directions.vectors[:2]

"""Any LightningModule that has `sample_latents` and `decode`, as pictures and scores see a model."""

from typing import cast

import torch
from lightning import LightningModule as Module
from torch import Tensor

from foundation.errors import UserError

from .generative_model import GenerativeModel
from .values import Latents

TOLERANCE = 0.01  # by which decoded images may leave [0, 1], as those of a linear output do; they are clamped
CONTRACT = (
    "Pictures and scores need sample_latents(n), a tensor of n latents, and decode(latents), float images "
    "(n, C, H, W) in [0, 1]"
)


class ForeignModel:
    """What pictures and scores ask of a GenerativeModel, of a module that is none.

    Its latents are tensors, `sample_latents(n)` draws them and `decode(latents)` makes images of them. It knows no
    labels, and its clock is Lightning's `global_step`. Raises UserError for a module without these methods, and where
    they return something else.
    """

    num_classes = None
    weights_used, latents_from = "raw", "prior"

    def __init__(self, module: Module) -> None:
        missing = [name for name in ("sample_latents", "decode") if not callable(getattr(module, name, None))]
        if missing:
            raise UserError(f"{type(module).__name__} has no {' and no '.join(missing)}. {CONTRACT}")
        self.module = module
        self.interpolates = bool(getattr(module, "interpolates", True))

    @property
    def device(self) -> torch.device:
        return self.module.device

    @property
    def images_seen(self) -> int:
        return clock_of(self.module)

    def sample_latents(self, n: int, labels: None = None) -> Latents:
        z = self.module.sample_latents(n)  # type: ignore[operator]
        if not isinstance(z, Tensor) or z.dim() == 0 or len(z) != n:
            raise UserError(f"{type(self.module).__name__}.sample_latents({n}) returned {in_words(z)}. {CONTRACT}")
        return Latents(z)

    def decode(self, latents: Latents) -> Tensor:
        images = self.module.decode(latents.z)  # type: ignore[operator]
        if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
            raise UserError(f"{type(self.module).__name__}.decode returned {in_words(images)}. {CONTRACT}")
        low, high = (float(end) for end in images.detach().aminmax())
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):
            raise UserError(
                f"{type(self.module).__name__}.decode returned images from {low:.4g} to {high:.4g}. {CONTRACT}"
            )
        return images


def as_generative(module: Module) -> GenerativeModel:
    """A model of this project as it is, any other as pictures and scores see it. Raises UserError."""
    return module if isinstance(module, GenerativeModel) else cast(GenerativeModel, ForeignModel(module))


def clock_of(module: Module) -> int:
    """Training images that a module has seen; of one that does not count them, Lightning's steps."""
    return cast(int, getattr(module, "images_seen", module.global_step))


def in_words(value: object) -> str:
    return f"{value.dtype} of the shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__

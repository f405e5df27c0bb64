"""A run's trained model for use from Python: images of latents, and latents of images."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from foundation.errors import ConfigError
from lightning_modules.generative_model import Encodes, GenerativeModel
from lightning_modules.observing import drawing_from
from lightning_modules.values import Batch, Latents

from .given_to_model import (
    Array,
    GivenValueError,
    Labels,
    checked_seed,
    count_of_samples,
    images_in_unit_range,
    known_labels,
    labels_in_turn,
    latents_of_model,
)  # fmt: skip
from .hub import local_folder
from .kept_config import read_config
from .machine import device_of
from .restoring import restored_model, stored_facts

AT_ONCE = 500  # images through a network


class TrainedModel:
    """A generative model that is only used, with the weights that its run was tested with.

    Images are float32 (N, C, H, W) in [0, 1], on the model's device; given ones may be uint8, and lie elsewhere. Labels
    are numbers or names of classes, one or several, which are taken in turn. What is random depends on the seed alone
    where one is given, else on PyTorch's global generators. No gradients are kept: they are to be had of `module`, the
    LightningModule. What can't be done raises GivenValueError.
    """

    def __init__(self, module: GenerativeModel, class_names: Sequence[str]) -> None:
        self.module = module.eval()
        self.image_shape, self.latent_shape = module.image_shape, module.latent_shape
        self.class_names = None if module.num_classes is None else tuple(class_names)  # None: it knows no labels

    @property
    def device(self) -> torch.device:
        return self.module.device

    def sample(self, n: int, labels: Labels | None = None, seed: int | None = None) -> Tensor:
        """`n` images. Where a model knows labels and none are given all are drawn equally often."""
        return self.decode(self.draw(n, labels, seed))

    def __call__(self, z: Array, labels: Labels | None = None) -> Tensor:
        """The images of latents (N, *latent_shape). A model that knows labels has to be given some."""
        return self.decode(self.latents(z, labels))

    def encode(self, images: Array, labels: Labels | None = None) -> Tensor:
        """The latents that the model finds likeliest for images, (N, *latent_shape), with labels as for a call."""
        return self._encoded(images, labels).z

    def reconstruct(self, images: Array, labels: Labels | None = None) -> Tensor:
        """What the model makes of the latents of images, (N, C, H, W)."""
        return self.decode(self._encoded(images, labels))

    def draw(self, n: int, labels: Labels | None = None, seed: int | None = None) -> Latents:
        """The latents that `sample` makes images of."""
        n, seed = count_of_samples(n), checked_seed(seed)
        given = self.labels_of(labels, n)
        if not self.module.latents_are_fitted:
            raise GivenValueError(
                "what this model's latents are drawn from is not fitted to its weights, whose run ended before that. "
                "evaluate.py run=… samples=… out=… fits it, to the run's data; latents that are given need no fit"
            )
        with torch.no_grad(), nullcontext() if seed is None else drawing_from(seed, self.device):
            rows = [slice(start, min(start + AT_ONCE, n)) for start in range(0, n, AT_ONCE)]
            labels_of_rows = [None if given is None else given[part] for part in rows]
            parts = [
                self.module.sample_latents(part.stop - part.start, own)
                for part, own in zip(rows, labels_of_rows, strict=True)
            ]
        drawn = [part.labels for part in parts if part.labels is not None]
        return Latents(torch.cat([part.z for part in parts]), torch.cat(drawn) if drawn else None)

    def latents(self, z: Array, labels: Labels | None = None) -> Latents:
        """Given latents (N, *latent_shape), with labels as for a call, as `decode` takes them."""
        checked = latents_of_model(z, self.latent_shape, self.module.num_codes)
        return Latents(checked.to(self.device), self._required_labels(labels, len(checked)))

    def decode(self, latents: Latents) -> Tensor:
        """Latents to images, some at a time."""
        with torch.no_grad():
            return torch.cat([self.module.decode(part) for part in latents.split(AT_ONCE)])

    def labels_of(self, labels: Labels | None, count: int) -> Tensor | None:
        """Labels for `count` images, (count,), on the model's device; None where none are given."""
        if labels is None:
            return None
        if self.class_names is None:
            raise GivenValueError("labels: this model knows none; leave them away")
        return labels_in_turn(labels, self.class_names, count).to(self.device)

    def _encoded(self, images: Array, labels: Labels | None) -> Latents:
        module = self.module
        if not isinstance(module, Encodes):
            raise GivenValueError(
                f"a {type(module).__name__} has no encoder: it makes images of latents, and not latents of images; "
                "encode and reconstruct are for models that do, such as vae, vaegan and vqvae"
            )
        checked = images_in_unit_range(images, self.image_shape)
        batch = Batch(checked, self._required_labels(labels, len(checked)))
        rows = [slice(start, start + AT_ONCE) for start in range(0, len(batch), AT_ONCE)]
        with torch.no_grad():
            encoded = [module.encode(batch[part].with_images(batch.images[part].to(self.device))) for part in rows]
        return Latents(torch.cat([part.z for part in encoded]), batch.labels)

    def _required_labels(self, labels: Labels | None, count: int) -> Tensor | None:
        if labels is None and self.class_names is not None:
            raise GivenValueError(f"labels: this model has to be given them: {known_labels(self.class_names)}")
        return self.labels_of(labels, count)


def load_run(
    folder: str | Path,
    device: str | torch.device = "auto",
    checkpoint: str | None = None,
    truncation: float | None = None,
) -> TrainedModel:
    """The model of a finished run, or of an exported one, from its folder alone; `evaluate.load_run` says more."""
    run_dir = local_folder(folder)
    asked = {} if truncation is None else {"truncation": truncation}
    return trained_model(read_config(run_dir), run_dir, device_called(device), checkpoint, asked)


def trained_model(
    config: DictConfig, run_dir: Path, device: torch.device, checkpoint: str | None, asked: Mapping[str, Any]
) -> TrainedModel:
    """As `restored_model`, to be used. Raises UserError, where the model makes no images among others."""
    module, _ = restored_model(config, run_dir, checkpoint, asked)
    if not isinstance(module, GenerativeModel):
        raise ConfigError(f"run: {run_dir} is the run of a model that makes no images")
    return TrainedModel(module.to(device), stored_facts(config, run_dir)["class_names"])


def device_called(device: str | torch.device) -> torch.device:
    """A device by PyTorch's name of it; auto: the one that a run would take. Raises ConfigError."""
    if device == "auto":
        return device_of("auto")
    try:
        return torch.zeros(0, device=device).cpu().to(device).device  # of meta nothing comes back
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without it
        raise ConfigError(f"device: {device} can't be used: {str(error).splitlines()[0]}. auto or cpu can") from error

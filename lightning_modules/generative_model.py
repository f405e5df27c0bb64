"""The interface that pictures and scores see: latents in, images out; and what models can do besides."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from foundation.errors import ConfigError

from .averaging import ExponentialMovingAverage
from .clippings import Clipping
from .image_model import ImageModel
from .schedules import Schedule
from .values import Batch, Latents

Network = TypeVar("Network", bound=nn.Module)


class GenerativeModel(ImageModel, ABC):
    """A model that makes images from latents, and keeps a moving average of its weights if it is asked to.

    It sets the learning rates of all its optimizers by the schedule, and clips their gradients.

    A family implements `sample_z` and `decode`; what else it can do it shows by the protocols below. In `decode`, and
    wherever else the weights of a trained model are meant, it takes its networks through `in_use`.
    """

    interpolates = True  # whether what lies between two latents makes images too
    num_codes: int | None = None  # of models whose latents are codes, int64, how many there are; else None

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_shape: tuple[int, ...],
        num_classes: int | None,
        ema_half_life: float,
        ema_ramp_up: float,
        schedule: Schedule,
        clipping: Clipping,
    ) -> None:
        """`num_classes`: how many labels the model knows; None for a model that knows none.

        `ema_half_life`: of the moving average of weights, in images; 0 keeps none.
        """
        super().__init__(image_shape)
        self.latent_shape, self.num_classes = tuple(latent_shape), num_classes
        self.ema_half_life, self.ema_ramp_up = ema_half_life, ema_ramp_up
        self.averages = nn.ModuleDict()  # by the attribute that each is the average of
        self._averaged_until = 0  # images seen at the last update
        self.schedule, self.clipping = schedule, clipping
        self.run_length = math.inf  # training images in the run; known once training starts

    @property
    def weights_used(self) -> str:
        """Which weights are used outside training, for the record of a score."""
        return "averaged (EMA)" if len(self.averages) else "raw"

    @property
    def latents_from(self) -> str:
        """What latents are drawn from, for the record of a score."""
        return "prior"

    @property
    def latents_are_fitted(self) -> bool:
        """Whether what latents are drawn from fits the weights; else `fit_latents` comes before `sample_latents`."""
        return True

    def sample_latents(self, n: int, labels: Tensor | None = None) -> Latents:
        """Draw n latents on the model's device. A model that knows labels draws those, too, unless they are given.

        All labels are drawn equally often, whatever their shares in the data.
        """
        if self.num_classes is None:
            return Latents(self.sample_z(n, None))
        if labels is None:
            labels = torch.randint(self.num_classes, (n,), device=self.device)
        return Latents(self.sample_z(n, labels), labels)

    @abstractmethod
    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        """Draw (n, *latent_shape) on the model's device; of these labels, (n,), where the model knows labels."""

    @abstractmethod
    def decode(self, latents: Latents) -> Tensor:
        """Latents to images (B, C, H, W) in [0, 1]; with averaged weights outside training, where they are kept."""

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit to training images what latents are drawn from, where that is no part of training; else do nothing.

        `held_out`, images of val, choose the settings of the fit.
        """

    def keep_averages(self, *names: str) -> None:
        """Keep moving averages of these attributes; for the end of a constructor."""
        if self.ema_half_life > 0:
            for name in names:
                network = getattr(self, name)
                self.averages[name] = ExponentialMovingAverage(network, self.ema_half_life, self.ema_ramp_up)

    def in_use(self, network: Network) -> Network:
        """The network itself while training; outside of it its moving average, where one is kept."""
        if not self.training:
            for name, average in self.averages.items():
                if getattr(self, name) is network:
                    return cast(Network, average.module)
        return network

    def keep_only_averages(self) -> None:
        """Put the averages in the place of what they follow, for good: of a model that is trained no more."""
        for name, average in self.averages.items():
            setattr(self, name, average.module)
        self.averages = nn.ModuleDict()

    def averages_are_due(self) -> bool:
        """Whether the training step that has just ended changed what is averaged."""
        return True

    def update_averages(self) -> None:
        """Let the averages follow by as many images as were seen since they last did."""
        for name, average in self.averages.items():
            assert isinstance(average, ExponentialMovingAverage)
            average.update(getattr(self, name), self.images_seen - self._averaged_until, self.images_seen)
        self._averaged_until = self.images_seen

    @property
    def schedule_spans_run(self) -> bool:
        return self.schedule.spans_run

    def on_train_start(self) -> None:
        if self.schedule_spans_run and self.trainer.max_steps != -1:
            raise ConfigError(
                f"trainer.max_steps: expected -1, got {self.trainer.max_steps}. Learning rates that span a run "
                "need its length by trainer.max_epochs alone: set that, or take model/schedule=constant or warm_up"
            )
        self.run_length = images_in_run(self.trainer)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        for optimizer in self.trainer.optimizers:
            self.schedule(optimizer, self.images_seen, self.run_length)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        unscale_gradients(self.trainer, optimizer)
        self.clipping([parameter for group in optimizer.param_groups for parameter in group["params"]])

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.averages_are_due():
            self.update_averages()
        super().on_train_batch_end(outputs, batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["averaged_until"] = self._averaged_until

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._averaged_until = checkpoint["averaged_until"]


def images_in_run(trainer: Trainer) -> int:
    """Training images that all epochs of a run show, on all devices together."""
    loader: Any = trainer.train_dataloader
    sizes = getattr(loader, "sizes", None)
    if sizes is None:
        epoch = min(len(loader.sampler), int(trainer.num_training_batches) * loader.batch_size)  # on each device
    else:
        epoch = sum(sizes[: int(trainer.num_training_batches)])
    return cast(int, trainer.max_epochs) * epoch * trainer.world_size


def unscale_gradients(trainer: Trainer, optimizer: Optimizer) -> None:
    """Give gradients their true size under fp16, where Lightning leaves that to the step of a fused optimizer."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)


@runtime_checkable
class Encodes(Protocol):
    """A model that infers the latents of images."""

    def encode(self, batch: Batch) -> Latents:
        """The latents that the model finds likeliest for images in [0, 1]."""


@runtime_checkable
class HasLikelihood(Encodes, Protocol):
    """A model that says how probable images are."""

    @property
    def likelihood_kind(self) -> str:
        """What log p(x) is; numbers of different kinds do not compare."""

    @property
    def is_over_bytes(self) -> bool:
        """Whether log p(x) is of the 256 values of a pixel, which bits per dimension need."""

    def log_importance_weights(self, batch: Batch, num_samples: int, at_once: int) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of draws z ~ q(z|x): (num_samples, B), nats per image.

        At most `at_once` latents are decoded at a time, but at least one for each image.
        """

    def kl_by_dimension(self, batch: Batch) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, D), nats; None where it does not part so."""

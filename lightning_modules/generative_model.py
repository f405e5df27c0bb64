"""The interface that pictures and scores see: latents in, images out; and what models can do besides."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from .averaging import ExponentialMovingAverage
from .image_model import ImageModel
from .values import Batch, Latents

Network = TypeVar("Network", bound=nn.Module)


class GenerativeModel(ImageModel, ABC):
    """A model that makes images from latents, and keeps a moving average of its weights if it is asked to.

    A family implements `sample_z` and `decode`; what else it can do it shows by the protocols below. In `decode`, and
    wherever else the weights of a trained model are meant, it takes its networks through `in_use`.
    """

    interpolates = True  # whether what lies between two latents makes images too

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_shape: tuple[int, ...],
        num_classes: int | None,
        ema_half_life: float,
        ema_ramp_up: float,
    ) -> None:
        """`num_classes`: how many labels the model knows; None for a model that knows none.

        `ema_half_life`: of the moving average of weights, in images; 0 keeps none.
        """
        super().__init__(image_shape)
        self.latent_shape, self.num_classes = tuple(latent_shape), num_classes
        self.ema_half_life, self.ema_ramp_up = ema_half_life, ema_ramp_up
        self.averages = nn.ModuleDict()  # by the attribute that each is the average of
        self._averaged_until = 0  # images seen at the last update

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

    def averages_are_due(self) -> bool:
        """Whether the training step that has just ended changed what is averaged."""
        return True

    def update_averages(self) -> None:
        """Let the averages follow by as many images as were seen since they last did."""
        for name, average in self.averages.items():
            assert isinstance(average, ExponentialMovingAverage)
            average.update(getattr(self, name), self.images_seen - self._averaged_until, self.images_seen)
        self._averaged_until = self.images_seen

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

    def log_importance_weights(self, batch: Batch, num_samples: int) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of draws z ~ q(z|x): (num_samples, B), nats per image."""

    def kl_by_dimension(self, batch: Batch) -> Tensor | None:
        """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, D), nats; None where it does not part so."""

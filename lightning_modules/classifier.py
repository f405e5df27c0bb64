"""A small image classifier, whose penultimate features are this project's reference for scores."""

from collections.abc import Callable, Iterable
from math import log
from pathlib import Path
from typing import Annotated

from annotated_types import Interval
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from foundation.checksums import damage
from foundation.errors import ConfigError
from foundation.ranges import Size

from .image_model import ImageModel
from .terms import NATS, Level, Term, Terms


class ClassifierNetwork(nn.Module):
    """An encoder, its features, and one linear layer on them."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: Size,
        num_features: Size,
        encoder: Callable[..., nn.Module],
    ) -> None:
        super().__init__()
        self.image_shape, self.num_classes, self.num_features = tuple(image_shape), num_classes, num_features
        self.encoder = encoder(image_shape=image_shape, num_outputs=num_features)
        self.head = nn.Linear(num_features, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to penultimate features (B, num_features), not negative."""
        return relu(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to class logits (B, num_classes)."""
        return self.head(self.features(images))


class Classifier(ImageModel):
    """Trains a classifier network; the learning rate makes one cycle (Smith 2018, arXiv:1708.07120)."""

    schedule_spans_run = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: Size,
        num_features: Size,
        encoder: Callable[..., nn.Module],
        augmentation: nn.Module,
        label_smoothing: Annotated[float, Interval(ge=0, le=1)],
        initial_weights: str | None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        """`initial_weights`: the reference.safetensors of an earlier run, to begin another cycle from."""
        super().__init__(image_shape)
        self.network = ClassifierNetwork(self.image_shape, num_classes, num_features, encoder)
        if initial_weights:
            load_weights(self.network, initial_weights)
        self.augmentation = augmentation
        self.label_smoothing = label_smoothing
        self.optimizer = optimizer

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.network.encoder, "head": self.network.head}

    @property
    def terms(self) -> Terms:
        count, meaning = self.network.num_classes, "a guess"
        return {
            "loss": Term("cross-entropy", NATS, Level(log(count), f"ln {count}"), meaning, low=0),
            "accuracy": Term("accuracy", "", Level(1 / count, f"1/{count}"), meaning, low=0, high=1),
        }

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to class logits (B, num_classes)."""
        return self.network(images)

    def objective(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The cross-entropy in nats per image, while training that of smoothed labels, and the share of right ones."""
        logits = self(self.augmentation(images))
        smoothing = self.label_smoothing if self.training else 0.0
        return {
            "loss": cross_entropy(logits, labels, label_smoothing=smoothing),
            "accuracy": (logits.argmax(dim=1) == labels).float().mean(),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(*batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(*batch)

    test_step = validation_step

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.parameters())
        highest = [group["lr"] for group in optimizer.param_groups]
        schedule = OneCycleLR(optimizer, max_lr=highest, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def load_weights(network: nn.Module, path: str) -> None:
    """Raises ConfigError if there is no such file, it is damaged, or its tensors are not this network's."""
    try:
        if fault := damage(Path(path)):
            raise ConfigError(f"model.initial_weights: {path} is damaged: {fault}. Restore it, or train it anew")
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"model.initial_weights: {path} can't be used ({error})") from error

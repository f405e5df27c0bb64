"""A small image classifier, whose penultimate features are this project's reference for scores."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from .image_model import ImageModel


class Classifier(ImageModel):
    """An encoder, its features, and one linear layer on them; the learning rate makes one cycle (Smith 2018)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        num_features: int,
        encoder: Callable[..., nn.Module],
        augmentation: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        super().__init__(image_shape)
        self.num_classes, self.num_features = num_classes, num_features
        self.encoder = encoder(image_shape=self.image_shape, num_outputs=num_features)
        self.head = nn.Linear(num_features, num_classes)
        self.augmentation = augmentation
        self.optimizer = optimizer

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "head": self.head}

    def features(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to penultimate features (B, num_features), not negative."""
        return relu(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to class logits (B, num_classes)."""
        return self.head(self.features(images))

    def objective(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The cross-entropy in nats per image, and the share of right answers."""
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        return {"loss": cross_entropy(logits, labels), "accuracy": accuracy}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, labels = batch
        return self.objective(self.augmentation(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.objective(*batch)

    test_step = validation_step

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(self.parameters())
        highest = [group["lr"] for group in optimizer.param_groups]
        schedule = OneCycleLR(optimizer, max_lr=highest, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

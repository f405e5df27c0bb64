"""What every callback that draws pictures shares: when they are drawn, from what randomness, and where they go."""

from abc import ABC, abstractmethod

from lightning import Callback, Trainer
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.observing import observing

from .cadence import is_due
from .pictures import show_picture
from .trainer_facts import datamodule_of


class PictureCallback(Callback, ABC):
    """Draws pictures of any GenerativeModel at the run's cadence, and once more of the model that is tested.

    Everything drawn depends on `seed` and the weights alone, and leaves the training as it was.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Tensor]:
        """Pictures by name, uint8 (3, H, W)."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        if is_due(trainer):
            self._show(trainer, pl_module, f"epoch_{trainer.current_epoch + 1:04d}")

    def on_test_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        self._show(trainer, pl_module, "final")

    def _show(self, trainer: Trainer, model: GenerativeModel, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        with observing(model, self.seed):
            pictures = self.draw(model, datamodule_of(trainer))
        for name, picture in pictures.items():
            show_picture(trainer, model, name, stage, picture)

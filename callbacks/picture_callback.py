"""What every callback that draws pictures shares: when they are drawn, from what randomness, and where they go."""

from abc import ABC, abstractmethod

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from lightning_modules.foreign import as_generative
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.observing import observing

from .cadence import is_due
from .pictures import show_picture
from .trainer_facts import datamodule_of


class PictureCallback(Callback, ABC):
    """Draws pictures of any GenerativeModel at the run's cadence, and once more of the model that is tested.

    Other LightningModules that make images are drawn, too: lightning_modules/foreign.py says of which.

    Everything drawn depends on `seed` and the weights alone, and leaves the training as it was.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Tensor]:
        """Pictures by name, uint8 (3, H, W)."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_due(trainer):
            self._show(trainer, pl_module, f"epoch_{trainer.current_epoch + 1:04d}")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module, "final")

    def _show(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        with observing(module, self.seed):
            pictures = self.draw(as_generative(module), datamodule_of(trainer))
        for name, picture in pictures.items():
            show_picture(trainer, module, name, stage, picture)

"""What every callback that draws pictures shares: when they are drawn, from what randomness, and where they go."""

from abc import ABC, abstractmethod

from lightning import Callback, LightningModule, Trainer

from datamodules.image_datamodule import ImageDataModule
from lightning_modules.foreign import as_generative
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.observing import observing
from run_folder.pictures import FINAL, epoch_stage

from .cadence import is_due
from .pictures import show_sheet
from .sheets import Sheet
from .trainer_facts import datamodule_of


class PictureCallback(Callback, ABC):
    """Draws pictures of any GenerativeModel at the run's cadence, and once more of the model that is tested.

    Other LightningModules that make images are drawn, too: lightning_modules/foreign.py says of which.

    Everything drawn depends on `seed` and the weights alone, and leaves the training as it was.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @abstractmethod
    def draw(self, model: GenerativeModel, datamodule: ImageDataModule) -> dict[str, Sheet]:
        """Pictures by kind, without what they say of the run."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_due(trainer):
            self._show(trainer, pl_module, epoch_stage(trainer.current_epoch + 1))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(trainer, pl_module, FINAL)

    def _show(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if not trainer.is_global_zero:
            return
        with observing(module, self.seed):
            sheets = self.draw(as_generative(module), datamodule_of(trainer))
        for kind, sheet in sheets.items():
            show_sheet(trainer, module, kind, stage, sheet)


def names_of_labels(labels: list[int], datamodule: ImageDataModule) -> list[str]:
    """The names of classes; of data that names none their numbers."""
    names = tuple(getattr(datamodule, "class_names", ()))
    return [str(names[label]) if label < len(names) else str(label) for label in labels]

"""Fitting what latents are drawn from to training images, before anything is drawn from it."""

from collections.abc import Iterator

from lightning import Callback, Trainer

from datamodules.image_datamodule import ImageDataModule
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing
from lightning_modules.values import Batch
from scoring.arithmetic import full_precision
from scoring.protocol import chosen_indices

from .batches import batches_of
from .cadence import is_due
from .trainer_facts import datamodule_of, ends

BATCH_SIZE = 500


class LatentFit(Callback):
    """Has the model fit its latents' density whenever val is about to be scored, at a run's end, and before a test.

    So val's score, best.ckpt, which is saved after it, and test speak of the same model, and samples can be drawn from
    last.ckpt. It does nothing to models that have nothing to fit, or make no images.
    """

    def __init__(self, seed: int) -> None:
        """`seed` orders the images, for models that fit to some of them, and draws their latents."""
        self.seed = seed

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if is_due(trainer) or ends(trainer):
            self.fit(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self.fit(trainer, pl_module)

    def fit(self, trainer: Trainer, model: ImageModel) -> None:
        if isinstance(model, GenerativeModel):
            fit_latents(model, datamodule_of(trainer), self.seed)


def fit_latents(model: GenerativeModel, datamodule: ImageDataModule, seed: int) -> None:
    """Have a model fit what its latents are drawn from to train and val, in orders that depend on the seed alone."""

    def batches(split: str) -> Iterator[Batch]:
        data = datamodule.split(split)
        return batches_of(data, BATCH_SIZE, model.device, chosen_indices(len(data.images), None, seed))

    with observing(model, seed), full_precision():
        model.fit_latents(batches("train"), batches("val"))

"""Fitting what latents are drawn from to training images, before anything is drawn from it."""

from lightning import Callback, Trainer

from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing
from scoring.arithmetic import full_precision
from scoring.protocol import chosen_indices

from .batches import batches_of
from .cadence import is_due
from .trainer_facts import datamodule_of

BATCH_SIZE = 500


class LatentFit(Callback):
    """Has the model fit its latents' density whenever val is about to be scored, and before a test.

    So val's score, best.ckpt, which is saved after it, and test speak of the same model. It does nothing to
    models that have nothing to fit, or make no images.
    """

    def __init__(self, seed: int) -> None:
        """`seed` orders the training images, for models that fit to some of them, and draws their latents."""
        self.seed = seed

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if is_due(trainer):
            self.fit(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self.fit(trainer, pl_module)

    def fit(self, trainer: Trainer, model: ImageModel) -> None:
        if not isinstance(model, GenerativeModel):
            return
        train = datamodule_of(trainer).split("train")
        order = chosen_indices(len(train.images), None, self.seed)
        with observing(model, self.seed), full_precision():
            model.fit_latents(batches_of(train, BATCH_SIZE, model.device, order))

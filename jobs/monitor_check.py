"""Whether val will have the score that the best checkpoint and early stopping go by: found before a run trains."""

from collections.abc import Mapping

import torch
from lightning import Trainer

from callbacks.checkpoints import RunCheckpoint, check_is_measured
from callbacks.curves import Curves
from callbacks.early_stopping import EarlyStopping
from callbacks.sample_scores import SampleScores
from callbacks.trainer_facts import callbacks_of
from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_unit_range
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing

FEW = 2  # images


def check_monitors(trainer: Trainer, model: ImageModel, datamodule: ImageDataModule) -> None:
    """Raise ConfigError if something goes by what val will not have been measured by.

    The data must have been read. What a model's validation returns is known by asking it, of a few images: only where
    something goes by it.
    """
    callbacks = callbacks_of(trainer)
    asked = [
        *(("callbacks.best_checkpoint.monitor", one.monitor) for one in callbacks if isinstance(one, RunCheckpoint)),
        *(("callbacks.early_stopping.monitor", one.monitor) for one in callbacks if isinstance(one, EarlyStopping)),
    ]
    # Scores may still say that they choose by a kid, where an fid is asked for.
    scored = [name for one in callbacks if isinstance(one, SampleScores) for name in (one.chosen_by, one.fid)]
    others = [(setting, monitor) for setting, monitor in asked if monitor is not None and monitor not in scored]
    if others and any(isinstance(one, Curves) for one in callbacks):
        scored += terms_of_val(model, datamodule)
    for setting, monitor in others:
        check_is_measured(scored, monitor, setting)


def terms_of_val(model: ImageModel, datamodule: ImageDataModule) -> list[str]:
    """The names under which `Curves` logs what the model's validation returns."""
    images, labels = (part[:FEW].cpu() for part in datamodule.split("val"))
    with observing(model, seed=0), torch.compiler.set_stance("force_eager"):
        terms = model.validation_step((to_unit_range(images), labels), 0)
    assert isinstance(terms, Mapping)
    return [f"val/{name}" for name in terms]

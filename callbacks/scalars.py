"""Writing scalars to the loggers, all on one clock: training images seen."""

from collections.abc import Mapping
from typing import NamedTuple

from lightning import LightningModule, Trainer

from lightning_modules.foreign import clock_of

from .run_recorder import RunRecorder
from .trainer_facts import callbacks_of


class TrainingTime(NamedTuple):
    """A time in training on every clock."""

    images_seen: int
    others: dict[str, float]  # epoch, and seconds of training where they are recorded

    @staticmethod
    def now(trainer: Trainer, module: LightningModule) -> "TrainingTime":
        others: dict[str, float] = {"epoch": trainer.current_epoch}
        for callback in callbacks_of(trainer):
            if isinstance(callback, RunRecorder):
                others["seconds"] = callback.elapsed()
        return TrainingTime(clock_of(module), others)


def log_scalars(trainer: Trainer, scalars: Mapping[str, float], time: TrainingTime) -> None:
    """Write scalars to every logger at the number of training images seen, and the other clocks with them."""
    for logger in trainer.loggers:
        logger.log_metrics({**scalars, **time.others}, step=time.images_seen)


def log_results(trainer: Trainer, module: LightningModule, scalars: Mapping[str, float]) -> None:
    """Log what an epoch ends with, now; and offer it to checkpoints and the progress bar, which may go by it."""
    log_scalars(trainer, scalars, TrainingTime.now(trainer, module))
    module.log_dict(dict(scalars), logger=False)

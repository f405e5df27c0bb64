"""Early stopping: a run ends when val's score no longer gets better."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from foundation.progress import say
from foundation.ranges import Count

from .cadence import is_due
from .checkpoints import check_is_measured


class EarlyStopping(lightning_callbacks.EarlyStopping):
    """Ends training once val has been scored `patience` times without getting better by more than `min_delta`.

    The run is complete then, and is tested. One that is resumed after it was stopped has nothing left to train.
    """

    def __init__(
        self,
        monitor: str | None,
        mode: Literal["min", "max"],
        patience: Count,
        min_delta: Annotated[float, Ge(0)],
    ) -> None:
        """`monitor`: the score that chooses the best checkpoint; null, where none does, is refused with the config."""
        super().__init__(str(monitor), min_delta, patience, mode=mode, check_on_train_epoch_end=True)
        self.check_finite = False  # a score that is not finite is one that is not better
        self.reason: str | None = None  # why this run was stopped; None: it was not

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._notice(trainer)  # what the checkpoint says that the run resumes from

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_due(trainer):  # between two scores the monitored value is the earlier one
            check_is_measured(trainer.callback_metrics, self.monitor, "callbacks.early_stopping.monitor")
            super().on_train_epoch_end(trainer, pl_module)
            self._notice(trainer)

    def _notice(self, trainer: Trainer) -> None:
        if self.stopping_reason == EarlyStoppingReason.NOT_STOPPED:
            return
        trainer.should_stop = True
        best = float(self.best_score)
        self.reason = f"{self.monitor} was scored {self.wait_count} times without getting better than {best:.4g}"
        if trainer.is_global_zero:
            say(f"stopped after epoch {self.stopped_epoch + 1} of {trainer.max_epochs}: {self.reason}")


def why_stopped(callbacks: Sequence[Callback]) -> str | None:
    """Why a run's training ended before its last epoch; None where it did not."""
    reasons = [callback.reason for callback in callbacks if isinstance(callback, EarlyStopping)]
    return next((reason for reason in reasons if reason), None)

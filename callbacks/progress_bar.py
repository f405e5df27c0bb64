"""The progress of a run: one bar for all its epochs, or lines of text where the output is no terminal."""

import time
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor
from tqdm import tqdm

from foundation.progress import Task, say, shows_bars
from foundation.ranges import Interval
from lightning_modules.image_model import ImageModel

from .readback import Readback

SHOWN = ("val/fid", "val/kid", "val/acc")  # what checkpoints are chosen by


class ProgressBar(TQDMProgressBar):
    """Epochs, images a second, time left, the terms of a training step and the latest val scores.

    The terms are those requested at its last refresh, so that training need not wait for the bar.
    """

    BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
    MIN_SECONDS = 0.1  # between two drawings amid an epoch

    def __init__(self, refresh_rate: Annotated[int, Interval(ge=0, le=10**6)]) -> None:
        super().__init__(refresh_rate=refresh_rate if shows_bars() else 0)
        self._terms: dict[str, Tensor] = {}
        self._requested = Readback({})
        self._drawn = 0.0  # by the clock of time.monotonic
        self._start = (0.0, 0, 0)  # of this fit: the clock, and the epochs and images that came before it

    def init_train_tqdm(self) -> Tqdm:
        bar = super().init_train_tqdm()
        bar.unit = " images"
        return bar

    def on_train_start(self, trainer: Trainer, pl_module: ImageModel) -> None:
        super().on_train_start(trainer, pl_module)
        self._start = time.monotonic(), trainer.current_epoch, pl_module.images_seen
        bar = self.train_progress_bar
        bar.reset(epochs_of(trainer) * trainer.num_training_batches)
        bar.initial = bar.n = trainer.current_epoch * trainer.num_training_batches

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{epochs_of(trainer)}")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._terms |= {name: value.detach() for name, value in outputs.items()}
        if batch_idx == 0:  # the last batch of an epoch may be smaller
            self.train_progress_bar.unit_scale = len(batch[0]) * trainer.world_size
        done = trainer.current_epoch * cast(int, trainer.num_training_batches) + batch_idx
        is_due = self._should_update(done + 1, cast(int, self.train_progress_bar.total))
        if is_due and (trainer.is_last_batch or self._is_stale()):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, done)

    def _is_stale(self) -> bool:
        """Whether the bar was drawn so long ago that a person would see it move."""
        now = time.monotonic()
        if now - self._drawn < self.MIN_SECONDS:
            return False
        self._drawn = now
        return True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._requested = Readback(self._terms)  # an epoch ends with its own last step
        super().on_train_epoch_end(trainer, pl_module)
        epoch, epochs = trainer.current_epoch + 1, epochs_of(trainer)
        lines = min(10, epochs)  # a log file gets a line for each tenth of a run
        if self.is_disabled and epoch * lines // epochs > (epoch - 1) * lines // epochs:
            shown = " ".join(f"{name}={value}" for name, value in self.get_metrics(trainer, pl_module).items())
            say(f"epoch {epoch}/{epochs} {shown} ({self._pace(trainer, pl_module)})")

    def _pace(self, trainer: Trainer, model: ImageModel) -> str:
        """`1,234 images/s, 02:05 left`: of this fit until now, with its scores and pictures."""
        began, epochs, images = self._start
        seconds = time.monotonic() - began
        rate = (model.images_seen - images) / seconds
        left = seconds / (trainer.current_epoch + 1 - epochs) * (epochs_of(trainer) - trainer.current_epoch - 1)
        return f"{rate:,.0f} images/s" + (f", {tqdm.format_interval(left)} left" if left else "")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, str]:
        scores: Mapping[str, Tensor] = {
            name: value for name, value in trainer.callback_metrics.items() if name.startswith(SHOWN)
        }
        terms, self._requested = self._requested.read(), Readback(self._terms)
        shown = terms | {name: float(value) for name, value in scores.items()}
        if len(terms) > 1:  # the loss is the sum of the other terms
            shown.pop("loss", None)
        return {name: f"{value:.4g}" for name, value in shown.items()}

    def init_validation_tqdm(self) -> tqdm:
        return tqdm(disable=True)

    def init_test_tqdm(self) -> tqdm:
        return tqdm(disable=True)


class LoopProgress(Callback):
    """The batches of val and test that a model is run on, besides those that it trains on."""

    def __init__(self) -> None:
        self._task: Task | None = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("val", trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("test", trainer.num_test_batches)

    def on_validation_batch_end(self, *_: Any) -> None:
        self._advance()

    def on_test_batch_end(self, *_: Any) -> None:
        self._advance()

    def on_validation_end(self, *_: Any) -> None:
        self._end()

    def on_test_end(self, *_: Any) -> None:
        self._end()

    def on_exception(self, *_: Any) -> None:
        self._end()

    def _begin(self, title: str, batches: Sequence[float]) -> None:
        total = sum(batches)  # of loaders of which one does not know its length it is infinite
        self._task = Task(title, int(total) if isfinite(total) else None, "batches")

    def _advance(self) -> None:
        assert self._task is not None  # begun with the loop
        self._task.advance()

    def _end(self) -> None:
        if self._task is not None:
            self._task.close()
        self._task = None


def epochs_of(trainer: Trainer) -> int:
    return cast(int, trainer.max_epochs)  # which the config names

"""The progress bar: losses and scores beside it; lines of text where the output is no terminal."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from tqdm import tqdm

from foundation.ranges import Interval

from .readback import Readback

SHOWN = ("val/fid", "val/kid", "val/acc")  # what checkpoints are chosen by


class ProgressBar(TQDMProgressBar):
    """Shows the terms of a training step and the latest val scores: those requested at its last refresh, so that
    training need not wait for the bar.
    """

    def __init__(self, refresh_rate: Annotated[int, Interval(ge=0, le=10**6)]) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stderr.isatty() else 0)
        self._terms: dict[str, Tensor] = {}
        self._requested = Readback({})

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._terms |= {name: value.detach() for name, value in outputs.items()}
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._requested = Readback(self._terms)  # an epoch ends with its own last step
        super().on_train_epoch_end(trainer, pl_module)
        epoch, epochs = trainer.current_epoch + 1, cast(int, trainer.max_epochs)  # which the config names
        lines = min(10, epochs)  # a log file gets a line for each tenth of a run
        if self.is_disabled and epoch * lines // epochs > (epoch - 1) * lines // epochs:
            shown = " ".join(f"{name}={value}" for name, value in self.get_metrics(trainer, pl_module).items())
            print(f"epoch {epoch}/{epochs} {shown}", flush=True)

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

"""Training that has turned into NaN stops at once."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from lightning import Callback, Trainer
from torch import Tensor, nn

from foundation.errors import UserError
from lightning_modules.image_model import ImageModel

from .readback import ReadbackQueue
from .trainer_facts import log_every_n_steps


class DivergenceError(UserError):
    """A loss is no longer a finite number; the message says which and when."""


def not_finite(model: nn.Module) -> str | None:
    """The name of one of a model's weights that is no finite number; None if all are.

    Moving averages of weights are among them, and batch norms' statistics. Other buffers may be infinite by their
    meaning, as a mixture's log weight of 0.
    """
    weights = (*model.named_parameters(), *(buffer for buffer in model.named_buffers() if "running_" in buffer[0]))
    return next((name for name, weight in weights if not weight.isfinite().all()), None)


def check_can_be_scored(model: ImageModel) -> None:
    """Raise DivergenceError for weights that are no finite numbers: what they make would be scored all the same."""
    if name := not_finite(model):
        raise DivergenceError(
            f"training diverged: {name} is no longer finite, so there is nothing to score. Lower the learning rate, or "
            "add a penalty"
        )


class StopOnDivergence(Callback):
    """Raises DivergenceError at the first batch with a term that is NaN or infinite.

    On an accelerator it looks only at the batches whose scalars are logged, once these have come, and at the end of
    an epoch: training never waits for it.
    """

    def __init__(self) -> None:
        self._readbacks: ReadbackQueue[int] = ReadbackQueue()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: ImageModel,
        outputs: Mapping[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        if pl_module.device.type == "cpu":  # where nothing waits for reading
            for name, term in outputs.items():
                self._check(trainer, pl_module.images_seen, name, term.item())
        elif (batch_idx + 1) % log_every_n_steps(trainer) == 0 or trainer.is_last_batch:
            self._readbacks.add(pl_module.images_seen, outputs)
        if trainer.is_last_batch and not_finite(pl_module):
            raise DivergenceError(
                f"training diverged: a weight is no longer finite at the end of epoch {trainer.current_epoch + 1}. "
                "Checkpoints of earlier epochs are kept. Lower the learning rate, or add a penalty"
            )
        for images_seen, terms in self._readbacks.pop_arrived(wait=trainer.is_last_batch):
            for name, value in terms.items():
                self._check(trainer, images_seen, name, value)

    def _check(self, trainer: Trainer, images_seen: int, name: str, value: float) -> None:
        if not isfinite(value):
            raise DivergenceError(
                f"training diverged: train/{name} is {value} in epoch {trainer.current_epoch + 1}, "
                f"after {images_seen:,} images. Checkpoints of earlier epochs are kept. "
                "Lower the learning rate, or add a penalty"
            )

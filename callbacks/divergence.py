"""Training that has turned into NaN stops at once."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from lightning import Callback, Trainer
from torch import Tensor

from lightning_modules.image_model import ImageModel


class DivergenceError(Exception):
    """A loss is no longer a finite number; the message says which and when."""


class StopOnDivergence(Callback):
    """Raises DivergenceError at the first batch with a term that is NaN or infinite.

    On an accelerator it looks only when scalars are logged, and at the end of an epoch, because each look
    waits for the device.
    """

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: ImageModel,
        outputs: Mapping[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        looks = pl_module.device.type == "cpu" or (batch_idx + 1) % trainer.log_every_n_steps == 0
        if not looks and not trainer.is_last_batch:
            return
        if trainer.is_last_batch and not all(p.isfinite().all() for p in pl_module.parameters()):
            raise DivergenceError(
                f"training diverged: a weight is no longer finite at the end of epoch {trainer.current_epoch + 1}. "
                "Checkpoints of earlier epochs are kept. Lower the learning rate, or add a penalty"
            )
        for name, value in outputs.items():
            if not isfinite(value.item()):
                raise DivergenceError(
                    f"training diverged: train/{name} is {value.item()} in epoch {trainer.current_epoch + 1}, "
                    f"after {pl_module.images_seen:,} images. Checkpoints of earlier epochs are kept. "
                    "Lower the learning rate, or add a penalty"
                )

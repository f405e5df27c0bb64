"""A run resumes between two epochs, also where its length is limited in steps."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class WholeEpochs(Callback):
    """Has Lightning begin a new epoch with a checkpoint that was written at the end of one.

    Where `max_steps` is set, it takes every checkpoint for one amid an epoch: it would count an epoch without a batch,
    and not call the hooks of its start.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.max_steps == -1 or not trainer.training:
            return
        for name, progress in checkpoint["loops"]["fit_loop"].items():
            if name == "epoch_progress":
                for counts in (progress["total"], progress["current"]):
                    counts["completed"] = counts["processed"]
            elif name.endswith("batch_progress"):
                progress["current"] = dict.fromkeys(progress["current"], 0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Or, with the flag of the checkpoint's last batch, this epoch would be over already.
        trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = False

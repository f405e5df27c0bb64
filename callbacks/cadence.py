"""The one cadence of validation, scores, pictures and the best checkpoint: the trainer's."""

from lightning import Trainer


def is_due(trainer: Trainer) -> bool:
    """Whether the epoch that now ends is one after which val is scored, pictures are drawn and the best model is kept.

    These are the epochs of `trainer.check_val_every_n_epoch`, which is the config's `every_n_epochs`.
    """
    every_n_epochs = trainer.check_val_every_n_epoch or 1  # None: validation goes by batches, and every epoch is due
    return (trainer.current_epoch + 1) % every_n_epochs == 0

"""The one cadence of validation, scores, pictures and the best checkpoint: the trainer's."""

from lightning import Trainer


def is_due(trainer: Trainer) -> bool:
    """Whether the epoch that now ends is one after which val is scored, pictures are drawn and the best model is kept.

    These are the epochs of `trainer.check_val_every_n_epoch`, which is the config's `every_n_epochs`, where they end
    with their last batch: a run that ends amid an epoch scores nothing that the same run, resumed, would not.
    """
    assert trainer.check_val_every_n_epoch is not None  # the config check refuses it
    return trainer.is_last_batch and (trainer.current_epoch + 1) % trainer.check_val_every_n_epoch == 0

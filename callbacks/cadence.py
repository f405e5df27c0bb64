"""When val is scored, and pictures are drawn."""

from lightning import Trainer


def is_due(trainer: Trainer, every_n_epochs: int) -> bool:
    """Whether the epoch that now ends is one of those that are looked at."""
    return (trainer.current_epoch + 1) % every_n_epochs == 0

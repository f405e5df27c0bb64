"""What Lightning's Trainer knows while it runs and does not declare."""

from lightning import Callback, Trainer

from datamodules.image_datamodule import ImageDataModule

STEP_HOOKS = (  # of a callback, that Lightning asks for in every training step
    "on_train_batch_start", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_before_zero_grad", "on_train_batch_end",
)  # fmt: skip


def datamodule_of(trainer: Trainer) -> ImageDataModule:
    """The data that the model is trained or tested on."""
    return trainer.datamodule  # type: ignore[attr-defined]


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The trainer's callbacks."""
    return trainer.callbacks  # type: ignore[attr-defined]


def has_hook(callback: Callback, name: str) -> bool:
    """Whether a callback does anything in a hook: of its class, or handed to it, as to a LambdaCallback."""
    hook = getattr(callback, name)
    return callable(hook) and getattr(hook, "__func__", hook) is not getattr(Callback, name)


def log_every_n_steps(trainer: Trainer) -> int:
    """Batches between two points of a curve."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]


def ends(trainer: Trainer) -> bool:
    """Whether the epoch that now ends is a run's last."""
    return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs


def whole_epochs(trainer: Trainer) -> int:
    """Epochs that have been trained to their last batch, once a fit has ended."""
    return trainer.fit_loop.epoch_progress.current.completed - (0 if trainer.is_last_batch else 1)

"""The checkpoints that a run keeps: the latest, and the best by a score."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from foundation.errors import ConfigError
from foundation.progress import say
from run_folder.checkpoints import CheckpointError
from run_folder.layout import END

from .cadence import is_due


class RunCheckpoint(ModelCheckpoint):
    """Keeps one file, `<filename>.ckpt`: the latest of every epoch, or the best by `monitor` of those that are scored.

    Both are of whole epochs, from which a run can be resumed. Where one ends amid an epoch, by a limit of steps or of
    time, that which keeps the latest leaves its last weights in a file of their own. When a run is resumed in another
    folder, its best checkpoint so far counts there too.
    """

    def __init__(
        self, dirpath: str, filename: str, monitor: str | None = None, mode: Literal["min", "max"] = "min"
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            every_n_epochs=1,
            save_top_k=1,
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    on_train_batch_end = None  # type: ignore[assignment]  # nothing is kept amid an epoch: Lightning need not ask

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is None:
            self._keep_latest(trainer, pl_module)
        elif is_due(trainer):  # between two scores the monitored value is the earlier one
            check_is_measured(trainer.callback_metrics, self.monitor, "callbacks.best_checkpoint.monitor")
            super().on_train_epoch_end(trainer, pl_module)

    def _keep_latest(self, trainer: Trainer, pl_module: LightningModule) -> None:
        end = Path(str(self.dirpath), END)
        if trainer.is_last_batch:
            if trainer.is_global_zero:
                end.unlink(missing_ok=True)  # of an earlier part of the run
            super().on_train_epoch_end(trainer, pl_module)
            return
        trainer.save_checkpoint(end)
        if trainer.is_global_zero:
            say(f"training ended amid epoch {trainer.current_epoch + 1} of {trainer.max_epochs}")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        folder = str(self.dirpath)
        if Path(folder, f"{self.filename}.ckpt").is_file():
            moved = _move_paths(state_dict, state_dict["dirpath"], folder)
            _check_inside(moved, Path(folder))
            super().load_state_dict(moved)


def best_val_score(callbacks: Sequence[Callback]) -> float | None:
    """The monitored score of the best checkpoint; None where nothing was monitored or scored yet."""
    scores = [
        callback.best_model_score for callback in callbacks if isinstance(callback, RunCheckpoint) and callback.monitor
    ]
    return float(scores[0]) if scores and scores[0] is not None else None


def check_is_measured(measured: Collection[str], monitor: str, setting: str) -> None:
    """Raise ConfigError if a score that a setting goes by is none of those that val has."""
    if monitor not in measured:
        known = ", ".join(sorted({name for name in measured if name.startswith("val/")}))
        raise ConfigError(
            f"{setting}: expected one of {known or 'scores of val, which this run has none of'}, got {monitor}"
        )


def _check_inside(state: dict[str, Any], folder: Path) -> None:
    """Raise CheckpointError for a file elsewhere: Lightning deletes what it takes for a worse checkpoint."""
    named = [state.get(f"{which}_model_path") for which in ("best", "last", "kth_best")]
    for path in filter(None, [*named, *state.get("best_k_models", {})]):
        if Path(path).resolve().parent != folder.resolve():
            raise CheckpointError(f"the checkpoint to resume from names {path}, which is not in {folder}")


def _move_paths(state: Any, old: str, new: str) -> Any:
    if isinstance(state, dict):
        return {_move_paths(key, old, new): _move_paths(value, old, new) for key, value in state.items()}
    if isinstance(state, str) and state.startswith(old):
        return new + state.removeprefix(old)
    return state

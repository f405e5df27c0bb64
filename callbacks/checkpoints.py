"""Checkpoints that are whole or not there, and that continue in another run folder."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from .run_folder import CHECKPOINTS, write_atomically


class CheckpointError(Exception):
    """A checkpoint can't be used; the message says which file, why, and what to do."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and moves the file into place, where Lightning's own goes through $TMPDIR."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_atomically(Path(path), lambda partial: torch.save(checkpoint, partial))


class RunCheckpoint(ModelCheckpoint):
    """Keeps one file, `<filename>.ckpt`: the latest, or the best by `monitor`.

    When a run is continued in another folder, the best checkpoint so far counts there too (see continuation.py).
    """

    def __init__(
        self, dirpath: str, filename: str, every_n_epochs: int, monitor: str | None = None, mode: str = "min"
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            every_n_epochs=every_n_epochs,
            save_top_k=1,
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if Path(self.dirpath, f"{self.filename}.ckpt").is_file():
            super().load_state_dict(_move_paths(state_dict, state_dict["dirpath"], self.dirpath))


def best_val_score(callbacks: Sequence[Callback]) -> float | None:
    """The monitored score of the best checkpoint; None where nothing was monitored or scored yet."""
    scores = [
        callback.best_model_score for callback in callbacks if isinstance(callback, RunCheckpoint) and callback.monitor
    ]
    return float(scores[0]) if scores and scores[0] is not None else None


def _move_paths(state: Any, old: str, new: str) -> Any:
    if isinstance(state, dict):
        return {_move_paths(key, old, new): _move_paths(value, old, new) for key, value in state.items()}
    if isinstance(state, str) and state.startswith(old):
        return new + state.removeprefix(old)
    return state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project onto the CPU. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}. Checkpoints lie in <run folder>/{CHECKPOINTS}/ as last.ckpt and best.ckpt"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what unpickling arbitrary bytes may raise is not to be listed
        size = os.path.getsize(path)
        raise CheckpointError(
            f"{path} ({size:,} bytes) can't be read as a checkpoint: it is empty, truncated, or no checkpoint at all. "
            "Use another one of the run, or train anew"
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "images_seen", "epoch", "loops"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path} was not written by this project's train.py; only its own checkpoints can be used"
        )
    return checkpoint

"""Checkpoints: written completely or not at all, and checked when they are read."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from foundation.atomic import write_atomically
from foundation.errors import UserError

from .layout import CHECKPOINTS
from .records import project_version

FORMAT = 2  # what a checkpoint and the config beside it hold; 1 is that of version 0.1, which did not state it


class CheckpointError(UserError):
    """A checkpoint can't be used; the message says which file, why, and what to do."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves atomically in the target's own folder, where Lightning's own goes through $TMPDIR; states the format."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        stated = checkpoint | {"format": FORMAT, "version": project_version()}
        write_atomically(Path(path), lambda partial: torch.save(stated, partial))


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
    if checkpoint.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was written by version {checkpoint.get('version', '0.1')} of this project, and this is version "
            f"{project_version()}, which can't resume or evaluate its runs. Check out the version that wrote it; "
            "report.py of this version still reads the run"
        )
    return checkpoint

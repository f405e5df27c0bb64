"""Checkpoints: written completely or not at all, and checked when they are read."""

import os
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from foundation.atomic import write_atomically
from foundation.checksums import PLACE, damage, seal
from foundation.errors import UserError

from .layout import CHECKPOINTS, WEIGHTS
from .records import project_version
from .weights import read_weights, write_weights

ANOTHER = "use another one of the run, or train anew"  # what to do without a checkpoint
FACTS = {"images_seen", "averaged_until", "epoch"}  # that a model restores besides its weights
STATED = {"state_dict", "images_seen", "epoch"}  # by every checkpoint
END_OF_ARCHIVE = b"PK\x05\x06"  # what the last 22 bytes of a zip archive without a comment begin with
FORMAT = 3  # what a checkpoint and the config beside it hold; 1 is that of version 0.1, which did not state it


class CheckpointError(UserError):
    """A checkpoint can't be used; the message says which file, why, and what to do."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Saves atomically in the target's own folder, where Lightning's own goes through $TMPDIR.

    A checkpoint states its format, and holds a checksum that is looked at wherever it is loaded.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        stated = checkpoint | {"format": FORMAT, "version": project_version()}
        write_atomically(Path(path), lambda partial: _save_sealed(stated, partial))

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        check_undamaged(Path(path), ANOTHER)
        return super().load_checkpoint(path, *args, **kwargs)


def _save_sealed(checkpoint: dict[str, Any], path: Path) -> None:
    """Save with a checksum as the comment of the zip archive, which PyTorch's checkpoints are."""
    torch.save(checkpoint, path)
    with open(path, "r+b") as file:
        file.seek(-22, os.SEEK_END)
        assert file.read(4) == END_OF_ARCHIVE
        file.seek(-2, os.SEEK_END)  # the length of the comment
        file.write(len(PLACE).to_bytes(2, "little") + PLACE.encode())
    seal(path)


def check_undamaged(path: Path, remedy: str) -> None:
    """Raise CheckpointError if a file's bytes are not those that its checksum is of."""
    if fault := damage(path):
        raise CheckpointError(f"{path} is damaged: {fault}; {remedy}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of this project, or the weights of an exported run, onto the CPU. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(
            f"there is no checkpoint {path}. Checkpoints lie in <run folder>/{CHECKPOINTS}/ as last.ckpt and best.ckpt"
        )
    checkpoint = read_exported(path) if path.name == WEIGHTS else read_pickled(path)
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= STATED:
        raise CheckpointError(f"{path} was not written by this project; only its own checkpoints can be used")
    if checkpoint.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was written by version {checkpoint.get('version', '0.1')} of this project in format "
            f"{checkpoint.get('format', 1)}, and this is version {project_version()}, which reads format {FORMAT}: it "
            "can't resume or evaluate that run. Check out the version that wrote it; report.py of this version still "
            "reads the run"
        )
    return checkpoint


def export_weights(checkpoint: dict[str, Any], path: Path) -> None:
    """Write what a checkpoint's model needs to make images, as `read_checkpoint` reads it again."""
    facts = {name: checkpoint[name] for name in sorted(FACTS & checkpoint.keys())}
    write_weights(checkpoint["state_dict"], facts | {"format": FORMAT, "version": checkpoint["version"]}, path)


def read_exported(path: Path) -> dict[str, Any]:
    check_undamaged(path, "fetch or export it anew")
    try:
        weights, facts = read_weights(path)
    except ValueError as error:
        raise unreadable(path, "fetch or export it anew") from error
    return {"state_dict": weights, **facts}


def read_pickled(path: Path) -> Any:
    check_undamaged(path, ANOTHER)
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what unpickling arbitrary bytes may raise is not to be listed
        raise unreadable(path, ANOTHER) from error


def unreadable(path: Path, remedy: str) -> CheckpointError:
    return CheckpointError(
        f"{path} ({os.path.getsize(path):,} bytes) can't be read as a checkpoint: it is empty, truncated, or no "
        f"checkpoint at all; {remedy}"
    )

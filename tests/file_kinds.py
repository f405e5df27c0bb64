"""The kinds of files that this project writes: how each is written, read, and damaged by a flipped bit."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from conftest import composed
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from callbacks.figures import draw_kl, save_figure
from callbacks.pictures import save_png
from datamodules.disk_cache import load_bytes, load_cached, store_bytes, store_cached
from foundation.atomic import write_atomically
from foundation.errors import UserError
from jobs.kept_config import read_config
from jobs.run_data import read_data
from jobs.sweeps import overrides_of
from run_folder.checkpoints import ANOTHER, AtomicCheckpointIO, export_weights, read_checkpoint
from run_folder.curves import add_rows, read_rows
from run_folder.kept_config import write_config
from run_folder.layout import CONFIG, CURVES, DATA, LAST, METRICS, STATUS, SWEEP, TRACKERS, WEIGHTS
from run_folder.records import DataRecord, EndRecord, RunRecord, SplitRecord, TrackersRecord, read_record, write_record
from run_folder.settings import as_dict
from scoring.reference import REFERENCE_FOLDER, load_reference, save_reference

CHECKPOINT = {"state_dict": {"a": torch.arange(50.0), "b": torch.arange(3)}, "images_seen": 7, "epoch": 0}


class Kind(NamedTuple):
    """A kind of file that would be believed; its reader names damage in an error, or makes the file anew."""

    file: str
    write: Callable[[Path, int], object]  # another number, another content
    read: Callable[[Path], object]
    remedy: str  # part of the message; empty: none is needed, for the file is made again


def write_checkpoint(path: Path, number: int = 0) -> None:
    AtomicCheckpointIO().save_checkpoint(numbered(number), path)


def write_export(path: Path, number: int = 0) -> None:
    export_weights(numbered(number) | {"version": "0.2.0"}, path)


def numbered(number: int) -> dict[str, object]:
    return CHECKPOINT | {"images_seen": 7 + number}


def write_run_config(path: Path, number: int = 3) -> None:
    write_config(path, run_config(number))


@cache
def run_config(number: int) -> DictConfig:
    cfg = composed("network=mlp", f"seed={number}")
    resolved: DictConfig = OmegaConf.create(as_dict(cfg))
    return resolved


def write_sweep(path: Path, number: int = 0) -> None:
    write_config(path, OmegaConf.create({"hydra": {"overrides": {"task": [f"seed=0,{number}"], "hydra": []}}}))


def write_curves(path: Path, number: int = 0) -> None:
    add_rows(path, [(10, {"a": 1.5}), (20 + number, {"b": 2.5})], is_new=True)


def write_bytes(path: Path, number: int = 0) -> None:
    images = torch.arange(100, dtype=torch.uint8).view(4, 1, 5, 5) + number
    assert store_bytes(path.name, [path.parent], (4, 1, 5, 5), lambda stored: stored.copy_(images))


def write_tensors(path: Path, number: int = 0) -> None:
    store_cached({"a": torch.arange(9) + number}, path.name, [path.parent], {"b": "c"})


def write_data(path: Path, number: int = 0) -> None:
    splits = {name: SplitRecord(images=9 + number, sha256="0" * 64) for name in ("train", "val", "test")}
    write_record(path, DataRecord(splits=splits, image_shape=(1, 8, 8), class_names=("a", "b")))


def write_end(path: Path, number: int = 0) -> None:
    write_record(path, EndRecord(status="stopped", message="stopped by SIGTERM", seed=number))


def write_reference(path: Path, number: int = 0) -> None:
    network, facts = load_reference(REFERENCE_FOLDER / "digits.safetensors")
    facts |= {"seed": str(number)}
    write_atomically(path, lambda partial: save_reference(network, facts, partial))


def made_again(found: Tensor | dict[str, Tensor] | None) -> None:
    if found is None:
        raise UserError("made again")


KINDS = [
    Kind(LAST, write_checkpoint, read_checkpoint, ANOTHER),
    Kind("best.ckpt", write_checkpoint, AtomicCheckpointIO().load_checkpoint, ANOTHER),  # as Lightning reads it
    Kind(WEIGHTS, write_export, read_checkpoint, "fetch or export it anew"),
    Kind(METRICS, lambda path, number: write_record(path, RunRecord(scores={}, seconds=3.5 + number)),
         lambda path: read_record(path, RunRecord), "If you changed it"),
    Kind(STATUS, write_end, lambda path: read_record(path, EndRecord), "If you changed it"),
    Kind(TRACKERS, lambda path, number: write_record(path, TrackersRecord(runs={"wandb": f"run{number}"})),
         lambda path: read_record(path, TrackersRecord), "If you changed it"),
    Kind(DATA, write_data, lambda path: read_data(path.parent), "If you changed it"),
    Kind(CONFIG, write_run_config, lambda path: read_config(path.parent), "Restore it"),
    Kind(SWEEP, write_sweep, overrides_of, "Restore it"),
    Kind(CURVES, write_curves, read_rows, "is damaged"),
    Kind("reference.safetensors", write_reference, load_reference, "Restore it"),
    Kind("images.npy", write_bytes,
         lambda path: made_again(load_bytes(path.name, [path.parent], (4, 1, 5, 5), mapped=True)), ""),
    Kind("images.safetensors", write_tensors,
         lambda path: made_again(load_cached(path.name, [path.parent], {"b": "c"})), ""),
]  # fmt: skip


def write_samples(path: Path, number: int) -> None:
    write_atomically(path, lambda partial: np.savez(partial, np.full((20, 8, 8, 1), number, dtype=np.uint8)))


# Of the others nothing is believed without another check.
OTHERS: dict[str, Callable[[Path, int], object]] = {
    "samples.npz": write_samples,
    "picture.png": lambda path, number: save_png(path, torch.full((3, 90, 90), number, dtype=torch.uint8)),
    "figure.png": lambda path, number: save_figure(path, draw_kl(torch.full((8,), float(number)))),
    "report.md": lambda path, number: write_atomically(path, lambda partial: partial.write_text(f"{number}\n" * 9999)),
}


def flip_bit(path: Path, drawn: random.Random) -> int:
    """Flip one bit of a file, and return which."""
    content = bytearray(path.read_bytes())
    bit = drawn.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return bit


def noticed(kind: Kind, path: Path, told: Callable[[], str]) -> str | None:
    """What is wrong with how a reader takes a damaged file; None: it names the file, and the remedy.

    `told` is what has been printed meanwhile.
    """
    try:
        kind.read(path)
    except UserError as error:
        words = str(error) if kind.remedy else told()
        return None if path.name in words and kind.remedy in words else f"it says only: {words}"
    return "it is taken as it is"

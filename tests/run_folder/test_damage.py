"""Flipped bits: in every kind of file that would be believed, each is noticed, and the file and a remedy are named."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from datamodules.disk_cache import load_bytes, load_cached, store_bytes, store_cached
from foundation.errors import ConfigError, UserError
from jobs.restoring import read_config
from lightning_modules.classifier import load_weights
from run_folder.checkpoints import (
    ANOTHER,
    AtomicCheckpointIO,
    CheckpointError,
    export_weights,
    read_checkpoint,
)
from run_folder.config_file import write_config
from run_folder.curves import add_rows, read_rows
from run_folder.layout import CONFIG, METRICS
from run_folder.records import RunRecord, read_record, write_record
from scoring import reference
from scoring.reference import REFERENCE_FOLDER, load_reference

FLIPS = 60  # of each kind of file
CHECKPOINT = {"state_dict": {"a": torch.arange(50.0), "b": torch.arange(3)}, "images_seen": 7, "epoch": 0}


class Kind(NamedTuple):
    """A kind of file: how it is written and read; its reader names damage in an error, or makes it anew."""

    file: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    remedy: str  # part of the message; empty: none is needed, for the file is made again


def write_checkpoint(path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(dict(CHECKPOINT), path)


def write_export(path: Path) -> None:
    export_weights(CHECKPOINT | {"version": "0.2.0"}, path)


def write_run_config(path: Path) -> None:
    sections = {name: {"a": 1} for name in ("model", "data", "callbacks", "scores")}
    write_config(path, OmegaConf.create(sections | {"seed": 3}))


def write_curves(path: Path) -> None:
    add_rows(path, [(10, {"a": 1.5}), (20, {"b": 2.5})], is_new=True)


def write_bytes(path: Path) -> None:
    assert store_bytes(path.name, [path.parent], (4, 1, 5, 5), lambda images: images.copy_(images_of_cache()))


def images_of_cache() -> Tensor:
    return torch.arange(100, dtype=torch.uint8).view(4, 1, 5, 5)


def made_again(found: object) -> None:
    if found is None:
        raise UserError("made again")


KINDS = [
    Kind("last.ckpt", write_checkpoint, read_checkpoint, ANOTHER),
    Kind("best.ckpt", write_checkpoint, AtomicCheckpointIO().load_checkpoint, ANOTHER),  # as Lightning reads it
    Kind("weights.safetensors", write_export, read_checkpoint, "fetch or export it anew"),
    Kind(METRICS, lambda path: write_record(path, RunRecord(scores={}, seconds=3.5)),
         lambda path: read_record(path, RunRecord), "If you changed it"),
    Kind(CONFIG, write_run_config, lambda path: read_config(path.parent), "Restore it"),
    Kind("metrics.csv", write_curves, read_rows, "is damaged"),
    Kind("images.npy", write_bytes,
         lambda path: made_again(load_bytes(path.name, [path.parent], (4, 1, 5, 5), mapped=True)), ""),
    Kind("images.safetensors", lambda path: store_cached({"a": torch.arange(9)}, path.name, [path.parent], {"b": "c"}),
         lambda path: made_again(load_cached(path.name, [path.parent], {"b": "c"})), ""),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file)
def test_any_flipped_bit_is_named_with_its_file_and_a_remedy(kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / kind.file
    kind.write(path)
    kind.read(path)  # as it was written it is taken
    whole = path.read_bytes()
    drawn = random.Random(kind.file)
    for _ in range(FLIPS):
        bit = drawn.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(UserError) as caught:
            kind.read(path)
        told = str(caught.value) if kind.remedy else capsys.readouterr().out
        assert path.name in told and kind.remedy in told, (bit, told)


@pytest.mark.parametrize("kind", KINDS[:-2], ids=lambda kind: kind.file)
def test_a_damaged_checksum_is_no_missing_one(kind: Kind, tmp_path: Path):
    path = tmp_path / kind.file
    kind.write(path)
    whole = path.read_bytes()
    for position in range(whole.index(b"crc32:"), whole.index(b"crc32:") + len("crc32:00000000")):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="damaged"):
            kind.read(path)


def test_checkpoints_and_exports_without_a_checksum_are_taken(tmp_path: Path):
    """As version 0.2.0 wrote them at first, in the same format."""
    torch.save(CHECKPOINT | {"format": 3, "version": "0.2.0"}, tmp_path / "last.ckpt")
    found = read_checkpoint(tmp_path / "last.ckpt")
    assert found["images_seen"] == 7 and torch.equal(found["state_dict"]["a"], CHECKPOINT["state_dict"]["a"])
    write_run_config(tmp_path / CONFIG)
    (tmp_path / CONFIG).write_text("\n".join((tmp_path / CONFIG).read_text().splitlines()[:-1]))  # its last line
    assert read_config(tmp_path).seed == 3


def test_checkpoint_with_its_checksum_is_one_that_any_program_loads(tmp_path: Path):
    write_checkpoint(tmp_path / "last.ckpt")
    for mapped in (False, True):
        found = torch.load(tmp_path / "last.ckpt", weights_only=True, mmap=mapped)
        assert torch.equal(found["state_dict"]["a"], CHECKPOINT["state_dict"]["a"])
    write_export(tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors").keys() == {"a", "b"}


def test_shipped_weights_are_those_of_their_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "weights"
    shutil.copytree(REFERENCE_FOLDER, folder)
    monkeypatch.setattr(reference, "REFERENCE_FOLDER", folder)
    path = folder / "digits.safetensors"
    whole = path.read_bytes()
    load_reference(path)
    drawn = random.Random(0)
    for _ in range(20):
        bit = drawn.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        for read in (load_reference, lambda _: reference.reference_file((1, 8, 8), (), None)):
            with pytest.raises(UserError, match=r"digits\.safetensors is damaged.+Restore it"):
                read(path)
    assert {line.split()[1] for line in (REFERENCE_FOLDER / reference.SUMS).read_text().splitlines()} == {
        file.name for file in REFERENCE_FOLDER.glob("*.safetensors")
    }


def test_damaged_initial_weights_are_named(tmp_path: Path):
    network, facts = load_reference(REFERENCE_FOLDER / "digits.safetensors")
    path = tmp_path / "reference.safetensors"
    reference.save_reference(network, facts, path)
    load_weights(network, str(path))
    flipped = bytearray(path.read_bytes())
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ConfigError, match=r"initial_weights: .+reference\.safetensors is damaged"):
        load_weights(network, str(path))


def test_error_of_a_damaged_checkpoint_is_one_of_checkpoints(tmp_path: Path):
    write_checkpoint(tmp_path / "last.ckpt")
    with open(tmp_path / "last.ckpt", "r+b") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match="its bytes are not those that were written"):
        read_checkpoint(tmp_path / "last.ckpt")

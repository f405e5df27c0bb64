"""Flipped bits: in every kind of file that would be believed, each is noticed, and the file and a remedy are named."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from file_kinds import (
    CHECKPOINT,
    KINDS,
    Kind,
    flip_bit,
    noticed,
    write_checkpoint,
    write_export,
    write_run_config,
)
from safetensors.torch import load_file

from foundation.errors import ConfigError, UserError
from jobs.kept_config import read_config
from lightning_modules.classifier import load_weights
from run_folder.checkpoints import CheckpointError, read_checkpoint
from run_folder.layout import CONFIG
from scoring import reference
from scoring.reference import REFERENCE_FOLDER, load_reference

FLIPS = 60  # of each kind of file


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file)
def test_any_flipped_bit_is_named_with_its_file_and_a_remedy(kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path / kind.file
    kind.write(path, 0)
    kind.read(path)  # as it was written it is taken
    whole = path.read_bytes()
    drawn = random.Random(kind.file)
    for _ in range(FLIPS):
        path.write_bytes(whole)
        bit = flip_bit(path, drawn)
        assert noticed(kind, path, lambda: capsys.readouterr().out) is None, bit


@pytest.mark.parametrize("kind", KINDS[:-2], ids=lambda kind: kind.file)
def test_a_damaged_checksum_is_no_missing_one(kind: Kind, tmp_path: Path):
    path = tmp_path / kind.file
    kind.write(path, 0)
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
        path.write_bytes(whole)
        flip_bit(path, drawn)
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

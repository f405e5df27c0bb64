"""Files of strangers that are no run folders: archives, weights, images, states of callbacks."""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from callbacks.checkpoints import RunCheckpoint
from datamodules.image_files import list_images
from foundation.errors import UserError
from run_folder.checkpoints import AtomicCheckpointIO, CheckpointError
from scoring.extractors import InceptionExtractor
from scoring.given_arrays import check_size, read_archive
from scoring.given_images import read_images
from scoring.weight_files import WeightsError, sha256


class Deed:
    """Unpickled, it leaves a canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_inceptions_weights_are_not_unpickled(tmp_path: Path):
    path, canary = tmp_path / "weights.pth", tmp_path / "canary"
    torch.save({"a": Deed(canary)}, path)
    with pytest.raises(WeightsError, match="is no network of"):
        InceptionExtractor(str(path), "https://nowhere/x.pth", sha256(path))
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists()


def test_checkpoints_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"a": Deed(tmp_path / "canary")}, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="Weights only"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    assert not (tmp_path / "canary").exists()


def test_no_checkpoint_has_a_file_elsewhere_deleted(tmp_path: Path):
    (tmp_path / "best.ckpt").touch()
    checkpoint = RunCheckpoint(str(tmp_path), "best", monitor="val/fid")
    state = checkpoint.state_dict() | {"dirpath": "old", "best_model_path": "old/best.ckpt"}
    checkpoint.load_state_dict(state)
    assert checkpoint.best_model_path == str(tmp_path / "best.ckpt")
    for path in ("old/../thesis.tex", "/home/thesis.tex"):
        for change in ({"best_model_path": path}, {"best_k_models": {path: torch.tensor(1.0)}}):
            with pytest.raises(CheckpointError, match="thesis"):
                checkpoint.load_state_dict(state | change)


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", bytes(2**24))
    assert path.stat().st_size < 2**16
    check_size(path, "images")
    monkeypatch.setattr("scoring.given_arrays.machine_memory", lambda: 2**24)
    with pytest.raises(UserError, match=r"0\.0168 GB of arrays once it is unpacked"):
        read_archive(path, (1, 8, 8))


def test_pipes_and_bombs_among_images_are_passed_over_or_named(tmp_path: Path):
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "y.png").symlink_to("/dev/zero")
    Image.new("L", (8, 8)).save(tmp_path / "z.png")
    assert list_images(tmp_path, "images").paths == ["z.png"]
    assert read_images(tmp_path, (1, 8, 8), "white").shape == (1, 1, 8, 8)
    texts = PngImagePlugin.PngInfo()
    texts.add_text("a", "x" * 2**21, zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "text.png", pnginfo=texts)
    with pytest.raises(UserError, match=r"text\.png is no readable image"):
        read_images(tmp_path, (1, 8, 8), "white")
    (tmp_path / "text.png").unlink()
    Image.new("1", (20_000, 20_000)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match=r"large\.png"):
        read_images(tmp_path, (1, 8, 8), "white")
    with pytest.raises(UserError, match="is neither"):
        os.mkfifo(tmp_path / "x.npz")
        read_images(tmp_path / "x.npz", (1, 8, 8), "white")

"""Paths: the home folder's sign in them, what a run keeps of them, and links to other disks."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import SMALL_PICTURES
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from small_data import write_images

from foundation.errors import ConfigError
from jobs.composition import composed, load
from jobs.evaluation import evaluate
from jobs.paths import PATHS, expanded, make_absolute
from run_folder.layout import run_of
from train import train

SHORT = ["network=mlp", "network.encoder.width=8", "network.decoder.width=8", "trainer.accelerator=cpu", "scores=none",
         "callbacks.likelihood=null", "every_n_epochs=1", *SMALL_PICTURES]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("data.root=~/x", "data.root=/home/me/x"),
        ("+data.root=~", "+data.root=/home/me"),
        ("data.root='~/a b'", "data.root='/home/me/a b'"),
        ("data.root=~/a,/b,~/c", "data.root=/home/me/a,/b,/home/me/c"),
        ("hydra.run.dir=~/runs/1", "hydra.run.dir=/home/me/runs/1"),
        ("sweep.resume=~/sweep", "sweep.resume=/home/me/sweep"),
        ("data.root=a~b", "data.root=a~b"),
        ("experiment=~/x", "experiment=~/x"),
        ("~data.root", "~data.root"),
        ("data.root='a b'", "data.root='a b'"),
        ("-m", "-m"),
    ],
)
def test_home_folder_stands_for_its_sign(given: str, read: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded([given]) == [read]


def test_path_in_a_home_folder_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"data\.root: ~nobody at all/x: there is no home folder ~nobody at all\."):
        expanded(["data.root='~nobody at all/x'"])


def test_home_folder_of_odd_signs_is_quoted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/it's, me")
    (argument,) = expanded(["data.root=~/x"])
    assert load(["data=mnist", argument]).data.root == "/home/it's, me/x"


def test_every_path_among_the_settings_is_known():
    """What is a path is named like one; a new one has to be among PATHS, or to be none."""
    names = {"root", "ckpt_path", "run", "images", "out", "folder", "weights", "initial_weights", "resume", "dir"}
    for config, overrides in (("config", ["data=mnist", "scores=inception", "model=classifier"]), ("evaluate", []),
                              ("export", [])):  # fmt: skip
        cfg = load(overrides, config)
        for section in ("", "data", "model", "scores.extractor", "sweep", "hydra.run", "hydra.sweep"):
            node = OmegaConf.select(cfg, section) if section else cfg
            for key in names & set(node or ()):
                if not OmegaConf.is_dict(node._get_node(key)):
                    assert f"{section}.{key}".lstrip(".") in PATHS


def test_run_names_what_is_read_again_as_it_is_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    cfg = composed("data=mnist", "data.root=here", "scores=inception", "scores.extractor.weights='~/x.pth'")
    make_absolute(cfg)
    assert cfg.data.root == str(tmp_path / "here") and cfg.scores.extractor.weights == "/home/me/x.pth"
    cfg = composed("data=digits", "scores=inception")
    make_absolute(cfg)
    assert "root" not in cfg.data and cfg.scores.extractor.weights is None


def test_run_on_data_in_a_relative_folder_is_evaluated_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_images(tmp_path / "here" / "images", ["cat", "dog"], 30)
    monkeypatch.chdir(tmp_path / "here")
    data = ["data=folder", "data.root=images", "data.image_size=8", "data.batch_size=20", "trainer.max_epochs=1"]
    train(composed(*SHORT, *data, run_dir=tmp_path / "run"))
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    cfg = composed(f"run={tmp_path / 'run'}", "accelerator=cpu", config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)
    assert (tmp_path / "run" / "evaluation" / "metrics.json").is_file()


def test_run_whose_checkpoints_lie_on_another_disk_is_resumed_in_place(tmp_path: Path):
    disk, run = tmp_path / "disk" / "kept", tmp_path / "run"
    disk.mkdir(parents=True)
    run.mkdir()
    (run / "checkpoints").symlink_to(disk)
    train(composed(*SHORT, "trainer.max_epochs=1", run_dir=run))
    last = run / "checkpoints" / "last.ckpt"
    assert (disk / "last.ckpt").is_file() and run_of(last) == run
    train(composed(*SHORT, "trainer.max_epochs=2", f"ckpt_path={last}", run_dir=run))
    assert '"epochs": 2' in (run / "metrics.json").read_text()
    with pytest.raises(ConfigError, match="already holds a run"):
        train(composed(*SHORT, "trainer.max_epochs=2", run_dir=run))


def test_checkpoint_is_of_the_run_in_whose_folder_it_lies_by_whatever_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").touch()
    (checkpoints / "last.ckpt").touch()
    (tmp_path / "link.ckpt").symlink_to(checkpoints / "last.ckpt")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(checkpoints)
    for given in ("last.ckpt", "../checkpoints/last.ckpt", "../../link.ckpt", "../../link/checkpoints/last.ckpt"):
        assert run_of(Path(given)) == (tmp_path / "run").resolve(), given
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert run_of(tmp_path / "moved" / "checkpoints" / "last.ckpt") == (tmp_path / "moved").resolve()
    assert os.path.lexists(tmp_path / "link")

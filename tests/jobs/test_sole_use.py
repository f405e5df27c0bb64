"""Two programs in one folder: the second ends at once, with a word, and changes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT
from omegaconf import OmegaConf

from datamodules.image_datamodule import ImageDataModule
from foundation.locks import FolderLock, InUseError
from jobs import sweeps
from jobs.composition import composed
from jobs.evaluation import evaluate
from jobs.job import run_job
from jobs.run_start import sole_use
from jobs.sweeps import FolderNames, lock_sweep, resumed
from train import train

SHORT = ["data=digits", "network=mlp", "trainer.max_epochs=1", "trainer.accelerator=cpu", "scores=none"]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data is not to be read: whoever may not have the folder is told before that."""
    monkeypatch.setattr(ImageDataModule, "setup", lambda *_: pytest.fail("the data was read"))


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Path]:
    """A folder that another program uses."""
    folder = tmp_path / "run"
    folder.mkdir()
    lock = FolderLock(folder)
    yield folder
    lock.release()


@pytest.mark.parametrize("resumes", [False, True], ids=["the same run", "resumed jobs of a sweep"])
def test_second_training_in_a_folder_ends_at_once(resumes: bool, used: Path, unread: None):
    (used / "config.yaml").write_text("of the first")
    cfg = composed(*SHORT, *(["sweep.resume=sweep"] if resumes else []), run_dir=used)
    with pytest.raises(InUseError, match=f"{used} is in use by another program"):
        run_job(train, cfg)
    assert sorted(path.name for path in used.iterdir()) == [".lock", "config.yaml"]
    assert (used / "config.yaml").read_text() == "of the first"


@pytest.mark.slow
def test_second_evaluation_into_a_folder_ends_at_once(train_in):
    run = train_in("run", *SHORT)
    (run / "evaluation").mkdir()
    lock = FolderLock(run / "evaluation")
    with pytest.raises(InUseError, match="evaluation is in use by another program"):
        evaluate(composed(f"run={run}", "accelerator=cpu", config="evaluate"))
    assert [path.name for path in (run / "evaluation").iterdir()] == [".lock"]
    lock.release()


def test_second_scoring_of_images_into_a_folder_ends_at_once(used: Path, unread: None, tmp_path: Path):
    np.savez(tmp_path / "images.npz", np.zeros((300, 8, 8, 1), dtype=np.uint8))
    options = [f"images={tmp_path}/images.npz", "data=digits", f"folder={used}", "accelerator=cpu"]
    with pytest.raises(InUseError, match=f"{used} is in use by another program"):
        evaluate(composed(*options, "scores=reference", "scores.num_fakes=300", config="evaluate"))
    assert [path.name for path in used.iterdir()] == [".lock"]


def test_sweep_that_runs_is_neither_resumed_nor_begun_again(used: Path):
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"], "hydra": []}}}, used / "multirun.yaml")
    with pytest.raises(InUseError, match=f"{used} is in use by another program"):
        resumed([f"sweep.resume={used}"])
    config = OmegaConf.create({"hydra": {"overrides": {"task": []}, "sweeper": {}, "sweep": {"dir": str(used)}}})
    with pytest.raises(SystemExit, match=f"error: {used} is in use by another program"):
        FolderNames().on_multirun_start(config)


def test_resumed_sweep_is_locked_once_and_until_its_end(tmp_path: Path):
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"], "hydra": []}}}, tmp_path / "multirun.yaml")
    resumed([f"sweep.resume={tmp_path}"])
    lock_sweep(tmp_path)  # by Hydra, once the sweep begins
    with pytest.raises(InUseError):
        FolderLock(tmp_path)
    sweeps._locks.pop(tmp_path.resolve()).release()
    FolderLock(tmp_path).release()


def test_folder_is_free_again_after_a_failure_and_orphans_below_are_gone(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    killed = (
        f"import os, sys; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from pathlib import Path\nfrom foundation.atomic import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda partial: os.kill(os.getpid(), 9))"
    )
    target = tmp_path / "checkpoints" / "last.ckpt"
    assert subprocess.run([sys.executable, "-c", killed, str(target)]).returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path / "checkpoints")) == 1
    with pytest.raises(ZeroDivisionError), sole_use(tmp_path):
        assert os.listdir(tmp_path / "checkpoints") == []
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["checkpoints"]

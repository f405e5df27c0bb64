"""What is left to do of a run that ended early: amid an epoch, before its test, or by early stopping."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PROJECT, SMALL_PICTURES, composed
from lightning import Trainer
from run_results import curves, record, weights
from torch import nn

from foundation.errors import UserError
from jobs.resuming import ResumptionFrom
from jobs.run_start import save_config
from run_folder.checkpoints import CheckpointError
from run_folder.settings import as_dict
from scoring.scorer import Glance, Scorer

# Three batches an epoch.
SMALL = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16", "data.batch_size=400"]
FAST = ["scores=none", "callbacks.likelihood=null", "callbacks.sample_grid=null", "callbacks.interpolation=null",
        "callbacks.reconstruction_grid=null"]  # fmt: skip
PRIOR = ["model/density=prior"]  # whose fit takes no time
STEPS = {"vae": 1, "gan": 2}  # of all optimizers, in a batch


def assert_same_weights(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.equal(weight, theirs[key]), key


@pytest.fixture
def killed_in_its_test(train_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The folder of a run that ended without a word after it was trained."""

    def run(name: str, *options: str) -> Path:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
            patch.setattr(Trainer, "test", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
            train_in(name, *options)
        return tmp_path / name

    return run


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Val's score by the images seen."""
    values = {1197: 3.0, 2394: 4.0, 3591: 5.0, 4788: 2.0}
    monkeypatch.setattr(Scorer, "glance", lambda _, samples, *__: Glance(values[samples.model.images_seen], None, None))
    return values


@pytest.mark.slow
@pytest.mark.parametrize("model", STEPS)
def test_run_that_ended_amid_an_epoch_is_continued_as_if_it_had_not(model: str, train_in, tmp_path: Path, capsys):
    options = [f"model={model}", *SMALL, *FAST, "trainer.max_epochs=4", "trainer.log_every_n_steps=2"]
    options += PRIOR if model == "vae" else []
    whole = train_in("whole", *options)
    steps = 7 * STEPS[model]  # two epochs and a batch
    part = train_in("part", *options, f"+trainer.max_steps={steps}")
    assert "training ended amid epoch 3 of 4" in capsys.readouterr().out
    ended = torch.load(part / "checkpoints" / "end.ckpt", weights_only=True)
    assert ended["images_seen"] == 2 * 1197 + 400 and ended["global_step"] == steps
    assert torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)["images_seen"] == 2 * 1197
    kept = record(part)
    assert kept["checkpoint"] == "checkpoints/end.ckpt" and kept["epochs"] == 2 and kept["images_seen"] == 2794
    assert kept["stopped_early"] == "a limit of steps or of time was reached amid epoch 3"

    last = f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}"
    again = train_in("again", *options, f"+trainer.max_steps={steps}", last)
    assert_same_weights(weights(again, "end.ckpt"), weights(part, "end.ckpt"))
    assert curves(again) == curves(part)
    assert_same_weights(weights(again, "last.ckpt"), weights(part, "last.ckpt"))  # to go on from
    capsys.readouterr()
    resumed = train_in("resumed", *options, last)
    assert "resuming after epoch 2; that amid which the run ended is trained from its start" in capsys.readouterr().out
    assert_same_weights(weights(resumed, "last.ckpt"), weights(whole, "last.ckpt"))
    assert curves(resumed) == curves(whole)
    train_in("part", *options, last)
    assert_same_weights(weights(part, "last.ckpt"), weights(whole, "last.ckpt"))
    assert not (part / "checkpoints" / "end.ckpt").exists() and record(part)["epochs"] == 4
    assert "stopped_early" not in record(part)


def test_epoch_that_has_not_ended_is_not_scored(killed_in_its_test, scores):
    run = killed_in_its_test(
        "run", *SMALL, *PRIOR, "+trainer.max_steps=4"
    )  # a score of 1,597 images would be a KeyError
    assert not list((run / "pictures").rglob("epoch_0002.png"))
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 0


def test_run_shorter_than_an_epoch_is_tested_by_its_last_weights_and_can_not_be_resumed(train_in):
    run = train_in("run", *SMALL, *FAST, *PRIOR, "+trainer.max_steps=2")
    assert record(run)["checkpoint"] == "checkpoints/end.ckpt" and record(run)["epochs"] == 0
    ((images_seen, point),) = [(x, row) for x, row in curves(run) if "train/elbo" in row]  # of fewer than 12
    assert images_seen == 800 and {"train/kl", "gradient_norm/decoder", "learning_rate/encoder"} <= point.keys()
    with pytest.raises(CheckpointError, match=r"end\.ckpt was written amid epoch 1.*Start the run anew"):
        train_in("run", *SMALL, *FAST, *PRIOR, "+trainer.max_steps=4", f"ckpt_path={run}/checkpoints/end.ckpt")


def test_a_limit_of_time_may_be_lifted(train_in, monkeypatch: pytest.MonkeyPatch):
    from lightning.pytorch.callbacks import Timer

    def due(timer: Timer, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= 4  # in the second epoch

    options = [*SMALL, *FAST, *PRIOR]
    whole = train_in("whole", *options)
    with monkeypatch.context() as patch:
        patch.setattr(Timer, "on_train_batch_end", due)
        part = train_in("part", *options, "+trainer.max_time=00:01:00:00")
    assert record(part)["images_seen"] == 1597
    resumed = train_in("resumed", *options, f"ckpt_path={part}/checkpoints/last.ckpt")
    assert_same_weights(weights(resumed, "last.ckpt"), weights(whole, "last.ckpt"))


@pytest.mark.parametrize("place", ["part", "another"])
def test_trained_run_that_was_not_tested_is_tested(place: str, train_in, killed_in_its_test, scores, tmp_path, capsys):
    options = [*SMALL, *PRIOR, "callbacks.likelihood=null", "scores.repeats=1", "scores.num_train=null"]
    whole = train_in("whole", *options)
    part = killed_in_its_test("part", *options)
    assert not (part / "metrics.json").exists()
    resumed = train_in(place, *options, f"ckpt_path={part}/checkpoints/last.ckpt")
    assert "resuming after epoch 2: nothing is left to train, the run is tested" in capsys.readouterr().out
    ours, theirs = record(resumed), record(whole)
    for key in ("epochs", "images_seen", "checkpoint", "checkpoint_epoch", "best_val_score", "scores", "test"):
        assert ours[key] == theirs[key], key
    assert theirs["checkpoint_epoch"] == 1  # not the last
    assert curves(resumed) == curves(whole)
    assert_same_weights(weights(resumed, "last.ckpt"), weights(whole, "last.ckpt"))
    names = [{str(path.relative_to(run)) for path in run.rglob("*.p*ng")} for run in (resumed, whole)]
    assert place == "another" or names[0] == names[1]
    with pytest.raises(CheckpointError, match=r"has completed 2 epochs and trainer\.max_epochs is 2: nothing is left"):
        train_in(place, *options, f"ckpt_path={resumed}/checkpoints/last.ckpt")


def test_run_made_longer_and_killed_in_its_test_is_tested_all_the_same(train_in, killed_in_its_test, tmp_path: Path):
    """The record of its shorter part is none of it."""
    last = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    train_in("run", *SMALL, *FAST, *PRIOR, "trainer.max_epochs=1")
    run = killed_in_its_test("run", *SMALL, *FAST, *PRIOR, last)
    assert record(run)["epochs"] == 1
    train_in("run", *SMALL, *FAST, *PRIOR, last)
    assert record(run)["epochs"] == 2


def test_run_that_was_stopped_early_and_tested_has_nothing_left(train_in, scores):
    options = [*SMALL, *PRIOR, "callbacks=early_stopping", "callbacks.early_stopping.patience=1",
               "callbacks.likelihood=null", "scores.repeats=1"]  # fmt: skip
    run = train_in("run", *options, "trainer.max_epochs=4")
    assert record(run)["epochs"] == 2
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for length in (4, 9):
        with pytest.raises(UserError, match=r"stopped early after epoch 2 of \d: nothing is left to train.*patience"):
            train_in("run", *options, f"trainer.max_epochs={length}", f"ckpt_path={run}/checkpoints/last.ckpt")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


class Spanning(nn.Module):
    schedule_spans_run = True


def test_length_may_be_another_unless_learning_rates_depend_on_it(tmp_path: Path):
    save_config(composed("model=classifier"), tmp_path)
    path = tmp_path / "checkpoints" / "last.ckpt"
    for longer in ("trainer.max_epochs=200", "+trainer.max_steps=5"):
        resumption = ResumptionFrom(path, images_seen=1, shapes={})
        resumption.check_same_run(as_dict(composed("model=classifier", longer)))
        resumption.check_fits(nn.Module())
        name = longer.lstrip("+").partition("=")[0]
        with pytest.raises(
            CheckpointError, match=rf"learning rates depend on {re.escape(name)}: resume it with the same"
        ):
            resumption.check_fits(Spanning())
    for limit in ("+trainer.max_time=00:00:05:00", "+trainer.max_time={minutes:5}"):
        resumption = ResumptionFrom(path, images_seen=1, shapes={})
        resumption.check_same_run(as_dict(composed("model=classifier", limit)))
        resumption.check_fits(Spanning())
    with pytest.raises(CheckpointError, match=r"trainer\.limit_train_batches"):
        resumption.check_same_run(as_dict(composed("model=classifier", "+trainer.limit_train_batches=3")))


@pytest.mark.slow
def test_last_begins_a_run_goes_on_with_it_and_keeps_it(tmp_path: Path):
    def start(*overrides: str) -> str:
        done = subprocess.run(
            [sys.executable, str(PROJECT / "train.py"), "network=mlp", "scores=none", "trainer.accelerator=cpu",
             "hydra.run.dir=run", "ckpt_path=last", *SMALL_PICTURES, *overrides],
            cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "resuming" not in start("trainer.max_epochs=1")
    assert "finished before" in start("trainer.max_epochs=1")
    assert "resuming after epoch 1" in start("trainer.max_epochs=2")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["images_seen"] == 2 * 1197

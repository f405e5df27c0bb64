"""Early stopping: by which scores a run ends, that it is complete then, and where a resumed run ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import composed
from lightning import Trainer

from callbacks.epoch_seed import EpochSeed
from foundation.errors import UserError
from jobs.resuming import ResumptionFrom
from jobs.run_start import save_config
from run_folder.checkpoints import CheckpointError
from run_folder.settings import as_dict
from scoring.features import ModelSamples
from scoring.scorer import Glance, Scorer

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]
STOPPING = [*MLP, "callbacks=early_stopping", "callbacks.early_stopping.patience=2", "trainer.max_epochs=9"]
REASON = "val/fid_reference was scored 2 times without getting better than 1"


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, float]]:
    """Val's score by the epoch after which it is measured, from 1 on."""
    by_epoch = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: 0.5}

    def glance(scorer: Scorer, samples: ModelSamples, *_) -> Glance:
        return Glance(by_epoch[samples.model.images_seen // 1197], None, None)

    monkeypatch.setattr(Scorer, "glance", glance)
    yield by_epoch


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_run_ends_when_val_no_longer_gets_better_and_is_complete(model: str, train_in, scores, capsys):
    run = train_in("run", f"model={model}", *STOPPING)
    kept = record(run)
    assert kept["epochs"] == 4 and kept["images_seen"] == 4 * 1197 and kept["stopped_early"] == REASON
    assert kept["checkpoint"] == "checkpoints/best.ckpt" and kept["checkpoint_epoch"] == 2
    assert "test/fid_reference" in kept["scores"] and not (run / "status.json").exists()
    assert f"stopped after epoch 4 of 9: {REASON}" in capsys.readouterr().out
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 3


def test_a_run_that_gets_better_to_its_end_is_not_stopped(train_in, scores, capsys):
    scores.update({3: 0.9, 4: 1.2})
    run = train_in("run", *STOPPING, "trainer.max_epochs=5")
    assert record(run)["epochs"] == 5 and "stopped_early" not in record(run)
    assert "stopped after" not in capsys.readouterr().out


def test_getting_better_by_too_little_does_not_count(train_in, scores):
    scores.update({3: 0.95, 4: 0.85})
    run = train_in("run", *STOPPING, "callbacks.early_stopping.min_delta=0.2")
    assert record(run)["epochs"] == 4


def test_patience_is_counted_in_scorings(train_in, scores):
    scores.update({2: 1.0, 4: 2.0, 6: 3.0})
    run = train_in("run", *STOPPING, "every_n_epochs=2")
    assert record(run)["epochs"] == 6


def test_a_score_that_is_no_number_is_one_that_is_not_better(train_in, scores):
    scores.update({3: float("nan"), 4: float("inf")})
    assert record(train_in("run", *STOPPING))["epochs"] == 4


@pytest.mark.parametrize("stopped_in", [3, 4], ids="after epoch {}".format)
def test_a_resumed_run_ends_where_the_uninterrupted_one_did(stopped_in: int, train_in, scores, monkeypatch):
    whole = train_in("whole", *STOPPING)

    def stop(self, trainer, pl_module):
        if trainer.current_epoch == stopped_in - 1:
            raise RuntimeError("stopped")
        seed(self, trainer, pl_module)

    seed = EpochSeed.on_train_epoch_start
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(EpochSeed, "on_train_epoch_start", stop)
        train_in("part", *STOPPING)
    resumed = train_in("resumed", *STOPPING, f"ckpt_path={whole.parent}/part/checkpoints/last.ckpt")
    ours, theirs = record(resumed), record(whole)
    for key in ("epochs", "images_seen", "stopped_early", "checkpoint_epoch", "scores"):
        assert ours[key] == theirs[key], key


def test_a_run_that_was_stopped_and_not_yet_tested_is_tested_when_it_is_resumed(train_in, scores, monkeypatch):
    whole = train_in("whole", *STOPPING)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(Trainer, "test", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("killed")))
        train_in("part", *STOPPING)
    resumed = train_in("resumed", *STOPPING, f"ckpt_path={whole.parent}/part/checkpoints/last.ckpt")
    ours, theirs = record(resumed), record(whole)
    for key in ("epochs", "images_seen", "stopped_early", "checkpoint_epoch", "scores"):
        assert ours[key] == theirs[key], key


def test_nothing_to_stop_by_is_the_users_error(train_in):
    with pytest.raises(UserError, match=r"callbacks\.early_stopping\.monitor: there is no score of val.*scores="):
        train_in("run", *STOPPING, "scores=none")


@pytest.mark.parametrize("other", ["callbacks=default", "callbacks.early_stopping.patience=3"])
def test_a_run_is_resumed_with_its_own_end(other: str, tmp_path: Path):
    save_config(composed(*STOPPING), tmp_path)
    resumption = ResumptionFrom(tmp_path / "checkpoints" / "last.ckpt", images_seen=1, shapes={})
    changed = [*STOPPING, other] if "patience" in other else [*MLP, other, "trainer.max_epochs=9"]
    with pytest.raises(CheckpointError, match=r"is of a run with callbacks\.early_stopping"):
        resumption.check_same_run(as_dict(composed(*changed)))
    resumption.check_same_run(as_dict(composed(*STOPPING)))

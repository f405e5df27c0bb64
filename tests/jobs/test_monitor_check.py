"""What the best checkpoint or early stopping go by is found missing before anything is trained."""

from pathlib import Path

import pytest
import torch
from conftest import RICH, TinyImages, composed
from lightning import Trainer
from small_models import SHAPE, build, fit

from callbacks.checkpoints import RunCheckpoint
from callbacks.curves import Curves
from callbacks.early_stopping import EarlyStopping
from foundation.errors import ConfigError
from jobs.job import run_job
from jobs.monitor_check import check_monitors, terms_of_val
from train import train

FAMILIES = [*RICH.values(), ["model=classifier"]]


def check(model, *callbacks) -> None:
    datamodule = TinyImages(SHAPE)
    datamodule.setup()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=True, callbacks=[*callbacks])
    check_monitors(trainer, model, datamodule)


@pytest.mark.parametrize("family", FAMILIES, ids=[*RICH, "classifier"])
def test_the_terms_of_val_are_those_that_a_run_logs_and_asking_changes_nothing(family: list[str], tmp_path: Path):
    datamodule, logged = TinyImages(SHAPE), []

    class Noting(Curves):
        def on_validation_epoch_end(self, trainer, pl_module):
            super().on_validation_epoch_end(trainer, pl_module)
            logged.append({name for name in trainer.callback_metrics if name.startswith("val/")})

    model = build(*family)
    datamodule.setup()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    state = torch.get_rng_state()
    terms = terms_of_val(model, datamodule)
    assert model.training and torch.equal(state, torch.get_rng_state())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    fit(model, datamodule, Noting())
    assert set(terms) == logged[0]


def test_a_score_that_val_will_not_have_is_refused_by_the_name_of_its_setting(tmp_path: Path):
    model = build("model=vanilla_vae")
    best = RunCheckpoint(str(tmp_path), "best", monitor="val/nothing")
    with pytest.raises(ConfigError, match=r"^callbacks\.best_checkpoint\.monitor: expected one of val/elbo, val/kl, "):
        check(model, best, Curves())
    with pytest.raises(ConfigError, match=r"^callbacks\.early_stopping\.monitor: .*, got train/loss"):
        check(model, EarlyStopping("train/loss", "min", patience=1, min_delta=0.0), Curves())
    elbo = RunCheckpoint(str(tmp_path), "best", monitor="val/elbo")
    check(model, elbo, RunCheckpoint(str(tmp_path), "last"), Curves())
    with pytest.raises(ConfigError, match="which this run has none of, got val/elbo"):  # by nobody else logged
        check(model, elbo)


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["callbacks.best_checkpoint.monitor=val/nothing"], "best_checkpoint"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/nothing"], "early_stopping"),
        (["callbacks.best_checkpoint.monitor=val/kid_reference"], "best_checkpoint"),  # val is scored by an fid
    ],
)
def test_a_run_ends_before_it_trains_and_leaves_its_folder_free(
    overrides: list[str], setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("it trains"))
    cfg = composed("data=digits", "network=mlp", "trainer.accelerator=cpu", *overrides, run_dir=tmp_path)
    with pytest.raises(ConfigError, match=rf"^callbacks\.{setting}\.monitor: expected one of .*val/fid_reference"):
        run_job(train, cfg)
    assert not (tmp_path / "config.yaml").exists()


def test_the_usual_score_is_asked_of_no_model(monkeypatch: pytest.MonkeyPatch, train_in):
    monkeypatch.setattr("jobs.monitor_check.terms_of_val", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: None)
    monkeypatch.setattr(Trainer, "test", lambda *_, **__: None)
    monkeypatch.setattr("jobs.run.summary", lambda *_: "")
    train_in("run", "network=mlp", "callbacks=early_stopping")

"""One predicate says which settings decide the weights, and everyone who has to know asks it."""

from pathlib import Path

import pytest
from conftest import composed

from foundation.errors import ConfigError
from jobs.resuming import ResumptionFrom
from jobs.run_start import save_config
from jobs.sweeps import check_keeps_jobs, folder_name
from jobs.tracked_run import tracked_run
from reports.models import learning_settings
from run_folder.checkpoints import CheckpointError
from run_folder.settings import as_dict, decides_weights, flattened

DECIDING = {  # another value than the default's
    "trainer.precision": "bf16-mixed", "trainer.devices": 2, "tf32": "false", "model.latent_dim": 5,
    "data.batch_size": 7, "data.split_seed": 1, "network.encoder.width": 3, "scores.num_fakes": 100,
    "every_n_epochs": 3, "callbacks.best_checkpoint.mode": "max",
}  # fmt: skip
DECIDING_NOTHING = {
    "compile": "true", "trainer.accelerator": "cpu", "data.device": "cpu", "callbacks.sample_grid.rows": 3,
    "callbacks.interpolation": "null", "logger.tensorboard": "null", "trainer.log_every_n_steps": 3,
    "scores.repeats": 2, "scores.batch_size": 10, "trainer.enable_model_summary": "true", "run_dir": "elsewhere",
    "recipe.trials": 9,
}  # fmt: skip
KINDS = [*((key, value, True) for key, value in DECIDING.items()),
         *((key, value, False) for key, value in DECIDING_NOTHING.items())]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "decides"),
    [*((key, True) for key in DECIDING), *((key, False) for key in DECIDING_NOTHING), ("seed", True),
     ("trainer.max_epochs", True), ("data", True), ("data.root", False), ("data.rooted", True), ("callbacks", True),
     ("callbacks.best_checkpoint", True), ("callbacks.best_checkpoint.dirpath", False), ("a.new.key", True),
     ("callbacks.early_stopping.patience", True), ("hydra.sweep.dir", False)],
)  # fmt: skip
def test_everything_decides_but_what_is_listed(key: str, decides: bool):
    assert decides_weights(key) == decides


@pytest.mark.parametrize(("key", "value", "decides"), KINDS)
def test_sweep_is_resumed_with_nothing_more_that_decides(key: str, value: object, decides: bool):
    if decides or key == "run_dir":
        with pytest.raises(ConfigError, match="would make other jobs"):
            check_keeps_jobs(f"{key}={value}")
    else:
        check_keeps_jobs(f"{key}={value}")


@pytest.mark.parametrize(("key", "value", "decides"), KINDS)
def test_folder_of_a_job_is_named_by_what_decides(key: str, value: object, decides: bool):
    assert (key in folder_name(["seed=0", f"{key}={value}"], 3)) == decides


@pytest.mark.parametrize(("key", "value", "decides"), KINDS)
def test_run_is_resumed_with_what_decides_as_it_was(key: str, value: object, decides: bool, tmp_path: Path):
    save_config(composed(), tmp_path)
    resumption = ResumptionFrom(tmp_path / "checkpoints" / "last.ckpt", images_seen=1, shapes={})
    now = as_dict(composed(f"{key}={value}", "trainer.max_epochs=300"))
    if decides:
        with pytest.raises(CheckpointError, match=f"is of a run with {key}="):
            resumption.check_same_run(now)
    else:
        resumption.check_same_run(now)


@pytest.mark.parametrize(("key", "value", "decides"), KINDS)
def test_report_tells_models_apart_by_what_decides(key: str, value: object, decides: bool):
    default, changed = (learning_settings(flattened(as_dict(composed(*one)))) for one in ([], [f"{key}={value}"]))
    assert (default != changed) == decides


def test_report_takes_other_seeds_for_the_same_model():
    settings = [learning_settings(flattened(as_dict(composed(f"seed={seed}")))) for seed in (0, 1)]
    assert settings[0] == settings[1]


def test_trackers_are_sent_what_decides():
    listed = tracked_run(composed("network=mlp", "network.encoder.width=8")).settings
    assert listed["model"] == "vae" and listed["trainer.precision"] == "32-true" and listed["model.latent_dim"] == 64
    identity = {"model", "network", "data", "scores", "experiment", "seed"}
    assert all(decides_weights(key) for key in listed.keys() - identity)
    assert "tf32" in listed and not listed.keys() & {"run_dir", "data.device", "callbacks.sample_grid.rows"}


def test_flattened_names_values_by_their_place_and_objects_by_their_class():
    config = {"a": {"_target_": "x.y.Thing", "_partial_": True, "b": [1, 2], "c": {"d": None}}, "seed": 0}
    assert flattened(config) == {"a": "Thing", "a.b": [1, 2], "a.c.d": None, "seed": 0}

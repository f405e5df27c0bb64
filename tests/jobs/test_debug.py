"""Debug presets: short runs that find faults, in folders of their own, which reports count among no results."""

from pathlib import Path

import pytest
import yaml
from conftest import PROJECT, SMALL_PICTURES, composed
from report_runs import make_run

from jobs.composition import load
from jobs.config_check import check
from jobs.sweeps import register_folder_name
from reports.run_folders import ReportError, find_runs
from run_folder.curves import read_rows
from run_folder.kept_config import read_plain
from run_folder.layout import CONFIG, CURVES, METRICS
from run_folder.records import RunRecord, read_record
from train import train

PRESETS = sorted(path.stem for path in (PROJECT / "conf" / "debug").glob("[!_]*.yaml"))


def debug(run_dir: Path, preset: str, *overrides: str) -> RunRecord:
    """The record of a debug run of small networks."""
    small = ["network=mlp", "network.encoder.width=32", "network.decoder.width=32", "trainer.accelerator=cpu"]
    train(composed(f"debug={preset}", *small, *SMALL_PICTURES, *overrides, run_dir=run_dir))
    return read_record(run_dir / METRICS, RunRecord)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("choice", ["model=vqvae", "model=classifier", "experiment=best/gan_mnist", "scores=reference"])
def test_a_preset_goes_with_every_model_and_experiment(preset: str, choice: str):
    check(composed(f"debug={preset}", choice))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_debug_run_has_a_folder_of_its_own(preset: str):
    register_folder_name()
    hydra = load([f"debug={preset}"]).hydra
    for folder in (hydra.run, hydra.sweep):
        written = dict(folder.items_ex(resolve=False))["dir"]
        assert written.startswith("debug/") and "runtime.choices.debug" in written
    assert "/debug/" in (PROJECT / ".gitignore").read_text().splitlines()


def test_a_fast_run_comes_through_two_batches_and_says_what_it_is(tmp_path: Path):
    record = debug(tmp_path / "run", "fast")
    assert record.images_seen == 2 * 100 and record.epochs == 1
    assert not record.scores and "test/elbo" in record.test
    assert record.model_extra and record.model_extra["debug"] == "fast"
    assert read_plain(tmp_path / "run" / CONFIG)["choices"]["debug"] == "fast"
    assert (tmp_path / "run" / "pictures" / "samples_fixed" / "final.png").is_file()


def test_an_overfitted_batch_is_learned(tmp_path: Path):
    record = debug(tmp_path / "run", "overfit", "trainer.max_epochs=60", "every_n_epochs=60", "model.optimizer.lr=0.01")
    assert record.images_seen == 60 * 100  # of one batch of a hundred
    elbo = [scalars["train/elbo"] for _, scalars in read_rows(tmp_path / "run" / CURVES) if "train/elbo" in scalars]
    assert len(elbo) == 60 and elbo[-1] > elbo[0] + 100  # nats


def test_the_profiler_leaves_its_table_in_the_run_folder(tmp_path: Path):
    debug(tmp_path / "run", "profiler", "trainer.max_epochs=1", "+trainer.limit_train_batches=2", "every_n_epochs=1")
    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


def test_reports_leave_debug_runs_out(tmp_path: Path, capsys: pytest.CaptureFixture):
    make_run(tmp_path / "result", "vae", "mnist", 0, 2.0)
    shown = make_run(tmp_path / "shown", "vae", "mnist", 1, 1.0)
    config = read_plain(shown / CONFIG)
    (shown / CONFIG).write_text(yaml.safe_dump({**config, "choices": {**config["choices"], "debug": "fast"}}))
    assert [run.name for run in find_runs([tmp_path])] == ["result"]
    assert "runs of debug=… are left out, 1" in capsys.readouterr().out
    with pytest.raises(ReportError, match="which are no results"):
        find_runs([shown])

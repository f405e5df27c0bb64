"""Trackers: each gets curves, pictures, settings, scores and reports; none gets places; a failing one ends no run."""

import getpass
import json
import os
import shlex
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, SMALL_PICTURES, composed
from omegaconf import OmegaConf

from foundation.errors import ConfigError
from jobs.building import build_loggers
from jobs.composition import load
from jobs.config_check import check
from jobs.spelling import what_is_wrong
from jobs.tracked_run import differing_settings, is_shareable, known_ids, tracked_run
from run_folder.curves import read_rows
from run_folder.layout import SWEEP, TRACKERS, sweep_of
from run_folder.settings import decides_weights
from trackers.mlflow_tracker import MlflowTracker
from trackers.sweep import track_report
from trackers.tensorboard_tracker import TensorBoardTracker
from trackers.tracker import TrackedRun, Tracker, TrackerError
from trackers.trackio_tracker import TrackioTracker
from trackers.wandb_tracker import WandbTracker
from train import train

SMALL = [
    "data=digits", "network=mlp", "network.encoder.width=8", "network.decoder.width=8", "trainer.accelerator=cpu",
    "every_n_epochs=1", "scores.repeats=2", "callbacks.likelihood.num_samples=2", *SMALL_PICTURES,
]  # fmt: skip
GIVEN = "every_n_epochs-1_network.decoder.width-8_network.encoder.width-8_trainer.max_epochs-2"
NAME = f"vae-mlp-digits_{GIVEN}/seed0"  # what else was given decides weights, too
CHOICES = ["tensorboard", "csv", "wandb", "mlflow", "trackio"]
OF_OTHERS = ["wandb", "mlflow", "trackio"]


def needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name, reason=f"pip install -e '.[{name}]'")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what the libraries keep, which each looks for once in a process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_DATA_DIR", str(tmp_path_factory.mktemp("wandb")))
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield Path(os.environ["TRACKIO_DIR"])


@pytest.fixture(scope="module")
def tracked(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that all trackers have followed."""
    needs(*OF_OTHERS)
    folder = tmp_path_factory.mktemp("tracked") / "run"
    train(composed(*SMALL, "logger=[tensorboard,wandb,mlflow,trackio]", "trainer.max_epochs=2", run_dir=folder))
    return folder


def of_mlflow(store: Path) -> tuple[Any, list[Any]]:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{store / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    return client, client.search_runs([found.experiment_id for found in client.search_experiments()])


def curve(run: Path, name: str) -> list[tuple[int, float]]:
    return [(step, row[name]) for step, row in read_rows(run / "metrics.csv") if name in row]


def test_mlflow_has_curves_pictures_settings_and_scores(tracked: Path):
    client, (run,) = of_mlflow(tracked)
    assert (run.info.run_name, run.info.status) == (NAME, "FINISHED")
    for name in ("train/elbo", "val/fid_reference", "test/fid_reference"):
        points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        assert points == curve(tracked, name) and points, name
    images = [Path(found.path).name for found in client.list_artifacts(run.info.run_id, "images")]
    for name in ("samples_fixed", "reconstructions", "loss_curves", "nearest_train"):
        assert any(image.startswith(name) for image in images), name
    assert run.data.params["model.latent_dim"] == "64" and run.data.params["seed"] == "0"
    assert run.data.tags["protocols"].split() == list(json.loads((tracked / "metrics.json").read_text())["protocols"])


def test_trackio_has_curves_pictures_and_settings(tracked: Path):
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import TRACKIO_DIR

    logs = SQLiteStorage.get_logs("vae-vs-gan", NAME, run_id=known_ids(tracked)["trackio"])
    for scalar in ("train/elbo", "val/fid_reference", "test/fid_reference"):
        assert [(row["step"], row[scalar]) for row in logs if scalar in row] == curve(tracked, scalar)
    files = [row[key]["file_path"] for row in logs for key in row if key.startswith("pictures/")]
    assert len(files) == len(list((tracked / "pictures").rglob("*.png")))
    assert all((TRACKIO_DIR / "media" / file).is_file() for file in files)
    assert SQLiteStorage.get_run_config("vae-vs-gan", NAME)["model.latent_dim"] == 64


def test_wandb_has_curves_pictures_settings_and_scores(tracked: Path):
    (folder,) = (tracked / "wandb").glob("offline-run-*")
    content = (folder / f"run-{known_ids(tracked)['wandb']}.wandb").read_bytes()
    for word in ("train/elbo", "val/fid_reference", "test/fid_reference", "model.latent_dim", NAME):
        assert word.encode() in content, word
    images = list((folder / "files" / "media" / "images" / "pictures").iterdir())
    assert len(images) == len(list((tracked / "pictures").rglob("*.png")))


def test_nothing_of_this_machine_is_in_what_is_sent(tracked: Path):
    (folder,) = (tracked / "wandb").glob("offline-run-*")
    wandb = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts)
    _, (run,) = of_mlflow(tracked)
    mlflow = json.dumps([run.data.params, run.data.tags, run.info.user_id]).encode()
    for content in (wandb, mlflow):
        for private in (str(tracked), str(Path.home() / "x")[:-1], socket.gethostname()):
            assert len(private) < 5 or private.encode() not in content, private
    assert getpass.getuser() != run.info.user_id
    assert not [path for path in folder.rglob("*") if path.name in ("wandb-metadata.json", "requirements.txt")]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("model.latent_dim", 5, True), ("model", "vae", True), ("experiment", "best/vae_digits", True),
     ("model.initial_weights", "w.ckpt", False), ("a", "/home/me/w.ckpt", False), ("a", "~/w", False),
     ("a", "C:\\w", False), ("a", r"\\host\w", False), ("a", "https://host/w", False), ("a", [3, "/w"], False),
     ("network.encoder.width", [256, 128], True)],
)  # fmt: skip
def test_what_names_a_place_is_not_sent(name: str, value: object, expected: bool):
    assert is_shareable(name, value) == expected


@pytest.mark.parametrize("overrides", [["data=folder", "data.root=/home/me/pictures"], ["scores=inception"],
                                       ["model=classifier", "model.initial_weights=/home/me/w.ckpt"]])  # fmt: skip
def test_no_run_names_a_place(overrides: list[str]):
    cfg = composed(*overrides, run_dir=Path("/home/me/run"))
    run = tracked_run(cfg)
    assert "home" not in json.dumps([run.name, run.settings, run.differing], default=str)
    assert {"model", "network", "data", "seed"} <= run.settings.keys() & run.differing.keys()


def test_run_is_called_by_what_differs():
    run = tracked_run(composed("model=gan", "model/loss=hinge", "seed=7", "trainer.accelerator=cpu"))
    assert run.name == "gan-conv-digits_model.loss-hinge/seed7"
    assert run.differing == {
        "model": "gan", "network": "conv", "data": "digits", "seed": 7, "given": "model/loss=hinge",
    }  # fmt: skip
    assert run.settings["model.loss"] == "HingeLoss"
    assert all(decides_weights(name) or name in ("scores", "experiment") for name in run.settings)
    assert differing_settings({"model": "vae", "a.b": 3}, ["a.b", "gone"], ["c=3"]) == {"model": "vae", "a.b": 3}


# Choosing


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_has_metrics_csv_beside_it(choice: str):
    assert set(composed(f"logger={choice}").logger) == {"csv", choice}


def test_several_are_chosen_as_a_list_and_tensorboard_by_default():
    assert set(composed("logger=[wandb,tensorboard]").logger) == {"csv", "wandb", "tensorboard"}
    assert set(composed().logger) == {"csv", "tensorboard"}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "logger=[tensorboard,wandn]",
            "logger=wandn: there is no such choice; did you mean logger=wandb? logger has:",
        ),
        ("logger=tensorbord", "did you mean logger=tensorboard? logger has: csv, mlflow, tensorboard, trackio, wandb"),
        ("logger.wandb.mode=online", "logger=[tensorboard] has no such setting; leave it away, or give one of these"),
    ],
)
def test_misspelt_tracker_is_answered_with_what_there_is(override: str, words: str):
    assert words in str(what_is_wrong([override], load))


PAGE = (PROJECT / "docs" / "trackers.md").read_text()
COMMANDS = [line.split("  #")[0].strip() for line in PAGE.splitlines() if line.startswith("python train.py")]


@pytest.mark.parametrize("command", COMMANDS)
def test_printed_command_composes(command: str):
    overrides = [word.replace("=vae,gan", "=vae").replace("=0,1", "=0") for word in shlex.split(command) if "=" in word]
    assert set(composed(*overrides).logger) >= {"csv"}


def test_page_names_every_choice_and_every_extra():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert len(COMMANDS) > len(CHOICES)
    for choice in CHOICES:
        assert f"| `{choice}`" in PAGE and (choice == "tensorboard" or f"python train.py logger={choice}" in COMMANDS)
    assert all(name in extras and f"'.[{name}]'" in PAGE for name in OF_OTHERS)


def test_metrics_csv_can_not_be_turned_off():
    with pytest.raises(ConfigError, match=r"logger\.csv: metrics\.csv can't be turned off"):
        check(composed("logger.csv=null"))


@pytest.mark.parametrize("choice", OF_OTHERS)
def test_missing_library_names_the_extra_before_anything_is_read(choice: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("foundation.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"logger={choice}: this needs .* pip install '\.\[{choice}\]'"):
        check(composed(f"logger=[tensorboard,{choice}]"))
    check(composed("logger=tensorboard"))


def test_password_in_an_address_is_refused():
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        from trackers.mlflow_tracker import MlflowTracker

        MlflowTracker("run", "e", "http://me:secret@host:5000")


# Failing


class Flaky(Tracker):
    """Takes some scalars, and fails from then on."""

    title = "flaky"
    calls = 0

    def __init__(self, fail_at: int) -> None:
        super().__init__()
        self.fail_at, self.closed = fail_at, ""

    def _begin(self, run: TrackedRun) -> str:
        return "id"

    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None:
        self.calls += 1
        if self.calls >= self.fail_at:
            raise ConnectionError("the server is gone\nand more")

    def _send_picture(self, name: str, path: Path, images_seen: int) -> None:
        assert path.is_file()

    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        raise AssertionError("nothing is sent any more")

    def _send_file(self, path: Path) -> None: ...

    def _close(self, ending: str) -> None:
        self.closed = ending

    def how_to_look(self) -> str:
        return "nowhere"


def test_tracker_that_fails_while_a_run_is_trained_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    flaky = Flaky(fail_at=3)
    monkeypatch.setattr("jobs.building.build_loggers", lambda config: [*build_loggers(config), flaky])
    train(composed(*SMALL, "logger=csv", "trainer.max_epochs=2", run_dir=tmp_path / "run"))
    out = capsys.readouterr().out
    assert out.count("logger.flaky failed: the server is gone. Nothing more is sent there; the run goes on") == 1
    assert flaky.calls == 3 and flaky.closed == "failed"
    assert (tmp_path / "run" / "metrics.json").is_file() and len(curve(tmp_path / "run", "train/elbo")) == 2


def test_server_that_is_gone_is_told_of_once(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    from mlflow.tracking import MlflowClient

    from trackers.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(str(tmp_path), "e", None)
    tracker.begin(TrackedRun("a"))
    tracker._client = MlflowClient(tracking_uri=f"http://127.0.0.1:{free_port}")
    tracker.log_metrics({"a": 1.0}, 3)
    tracker.log_metrics({"a": 1.0}, 4)
    tracker.close("finished")
    assert capsys.readouterr().out.count("logger.mlflow failed: ") == 1


def test_full_disk_is_no_matter_of_a_tracker_alone():
    flaky = Flaky(fail_at=1)
    flaky.begin(TrackedRun("a"))
    flaky._send_scalars = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        flaky.log_metrics({"a": 1.0}, 3)


@pytest.mark.slow
def test_server_that_is_not_there_is_an_error_before_training(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
):
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"logger.mlflow.tracking_uri=http://127.0.0.1:{free_port}"
    with pytest.raises(TrackerError, match=r"logger\.mlflow: it can't begin a run: .*MLFLOW_TRACKING_URI"):
        train(composed(*SMALL, "logger=mlflow", address, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()


# Resuming


@pytest.mark.slow
def test_resumed_run_goes_on_in_the_same_tracker_runs_and_a_copy_has_its_own(tmp_path: Path, places: Path):
    needs(*OF_OTHERS)
    options = [*SMALL, "logger=[tensorboard,wandb,mlflow,trackio]"]
    part, copy = tmp_path / "part", tmp_path / "copy"
    train(composed(*options, "trainer.max_epochs=1", run_dir=part))
    begun = known_ids(part)
    last = f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}"
    train(composed(*options, "trainer.max_epochs=2", last, run_dir=copy))
    train(composed(*options, "trainer.max_epochs=2", last, run_dir=part))
    assert known_ids(part) == begun and begun.keys() == {"tensorboard", *OF_OTHERS}
    assert not set(known_ids(copy).values()) & {begun[name] for name in OF_OTHERS}
    for folder in (part, copy):
        client, (run,) = of_mlflow(folder)
        points = [point.step for point in client.get_metric_history(run.info.run_id, "val/fid_reference")]
        assert points == [1197, 2394] and run.info.status == "FINISHED"
    _, (run,) = of_mlflow(part)
    assert run.data.tags["resumed with trainer.max_epochs"] == "2"
    assert {path.name.rpartition("-")[2] for path in (part / "wandb").glob("offline-run-*")} == {begun["wandb"]}


def test_damaged_or_hostile_record_of_trackers_begins_new_runs(tmp_path: Path, capsys: pytest.CaptureFixture):
    for content in ('{"runs": {"wandb": "../../x"}}', '{"runs": {"mlflow": "http://host/"}}', "{", '{"runs": 3}'):
        (tmp_path / TRACKERS).write_text(content)
        assert known_ids(tmp_path) == {}
        assert "Trackers begin a new run each" in capsys.readouterr().out


# The report of a sweep


def test_report_reaches_the_trackers_that_take_files(tmp_path: Path, places: Path):
    needs(*OF_OTHERS)
    (tmp_path / SWEEP).write_text("")
    page = tmp_path / "report" / "index.html"
    page.parent.mkdir()
    page.write_text("<p>who wins</p>")
    track_report(composed("logger=[tensorboard,wandb,mlflow,trackio]"), tmp_path, page)
    client, (run,) = of_mlflow(tmp_path)
    assert run.info.run_name == "report"
    assert [found.path for found in client.list_artifacts(run.info.run_id, "report")] == ["report/index.html"]
    (sent,) = (tmp_path / "wandb").glob("offline-run-*/files/media/html/report*.html")
    assert sent.read_text() == page.read_text()
    from trackio.utils import ARTIFACTS_DIR

    assert any(path.read_bytes() == page.read_bytes() for path in ARTIFACTS_DIR.rglob("*") if path.is_file())
    assert not list(tmp_path.glob("events*"))


def test_tracker_that_does_not_take_the_report_keeps_it_from_no_other(tmp_path: Path, capsys: pytest.CaptureFixture):
    config = OmegaConf.create({"run_dir": "x", "logger": {"a": {"_target_": "builtins.open"}, "b": None}})
    track_report(config, tmp_path, tmp_path / "index.html")
    assert "logger.a: the report was not sent there" in capsys.readouterr().out


def test_jobs_of_a_sweep_share_its_folder(tmp_path: Path):
    job = tmp_path / "sweep" / "vae-mlp-digits" / "seed0"
    job.mkdir(parents=True)
    assert sweep_of(job) is None
    (tmp_path / "sweep" / SWEEP).write_text("")
    assert sweep_of(job) == sweep_of(tmp_path / "sweep") == tmp_path / "sweep"


def test_commands_to_look_take_a_folder_with_spaces_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    folder, store = tmp_path / "my runs", tmp_path / "my store"
    words = []
    for kind in (TensorBoardTracker, MlflowTracker, TrackioTracker, WandbTracker):
        tracker: Any = object.__new__(kind)
        tracker.__dict__ |= {
            "_folder": folder, "_store": store, "_given_uri": None, "_project": "my project", "_mode": "offline",
        }  # fmt: skip
        words.append(shlex.split(tracker.how_to_look()))
    tensorboard, mlflow, trackio, wandb = words
    assert tensorboard == ["tensorboard", "--logdir", str(folder)]
    assert mlflow[-1] == f"sqlite:///{store / 'mlflow.db'}"
    assert trackio == [f"TRACKIO_DIR={store}", "trackio", "show", "--project", "my project"]
    assert wandb == ["wandb", "sync", f"{folder}/wandb/offline-run-*"]

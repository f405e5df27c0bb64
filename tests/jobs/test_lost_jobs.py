"""No job of a sweep is lost: each that failed stands in the report with its reason, and the others run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PROJECT
from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError
from foundation.locks import FolderLock, InUseError
from jobs.composition import composed, load
from jobs.job import run_job
from jobs.run_start import claim, save_config
from jobs.sweep_jobs import EARLIER, JobLoader, keep_record, left_to_jobs, seal_record
from jobs.sweeps import resumed
from reports.run_folders import find_runs
from run_folder.layout import SWEEP
from run_folder.records import EndRecord, RunRecord, read_record, write_record


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    short = ["network=mlp", "trainer.max_epochs=1", "scores=none", "callbacks=base", "hydra.sweep.dir=sweep"]
    command = [sys.executable, str(PROJECT / "train.py"), "-m", *overrides, *short]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_job_that_can_not_be_composed_fails_alone_and_is_in_the_report(tmp_path: Path):
    result = sweep(tmp_path, "model=vae,gann,gan", "model/loss=hinge")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    runs = {run.model: run for run in find_runs([tmp_path / "sweep"])}
    assert runs["gan"].status == "finished"
    assert (runs["vae"].status, runs["gann"].status) == ("failed", "failed")
    assert runs["vae"].message.startswith("model/loss: model=vae has no such choice")
    assert "did you mean model=gan?" in runs["gann"].message
    report = (tmp_path / "sweep" / "report" / "report.md").read_text()
    assert runs["vae"].message in report and runs["gann"].message in report


def test_sweep_of_which_no_job_can_be_composed_ends_before_the_first(tmp_path: Path):
    result = sweep(tmp_path, "seed=0,1", "modle=gan,vae")
    assert result.returncode == 1 and "modle: there is no such setting; did you mean model?" in result.stderr
    assert not [path for path in (tmp_path / "sweep").iterdir() if path.is_dir()] and "no report" not in result.stdout


def test_setting_that_only_some_swept_choices_have_is_left_to_their_jobs():
    def left(*arguments: str) -> list[str]:
        return left_to_jobs(arguments, load)

    assert left("-m", "data=mnist,digits", "data.root=a", "seed=1") == [
        "-m", "data=mnist,digits", "data.root=choice(a)", "seed=1",
    ]  # fmt: skip
    for unchanged in (["-m", "seed=0,1", "data.root=a"], ["data=mnist,digits", "data.root=a"], ["-m", "data=mnist,a"]):
        assert left(*unchanged) == unchanged


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a job of a sweep in a folder of tmp_path, with a training of one's own."""
    (tmp_path / SWEEP).write_text("")

    def run(train: Callable[[DictConfig], float | None], name: str, number: int, *overrides: str) -> None:
        hydra = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir={tmp_path}", f"hydra.job.num={number}"]
        cfg = composed(*overrides, *hydra, run_dir=tmp_path / name)
        run_job(train, cfg)

    return run


def failing(reason: str) -> Callable[[DictConfig], None]:
    def train(cfg: DictConfig) -> None:
        raise ConfigError(reason)

    return train


def finishing(cfg: DictConfig) -> None:
    folder = Path(cfg.run_dir)
    claim(folder, resumed_from=None)
    save_config(cfg, folder)
    write_record(folder / "metrics.json", RunRecord(scores={}))


def reasons(folder: Path) -> dict[str, str]:
    """What the report says of each run: its message, or its status where there is none."""
    return {run.name: run.message or run.status for run in find_runs([folder])}


def test_jobs_of_one_folder_are_all_in_the_report(job, tmp_path: Path):
    with pytest.raises(ConfigError, match="the first"):
        job(failing("the first"), "same", 0)
    for number, train in ((1, failing("the second")), (2, finishing)):
        with pytest.raises(ConfigError, match="is the folder of another job of this sweep"):
            job(train, "same", number)
    told = reasons(tmp_path)
    assert told.keys() == {"same", "same_1", "same_2"} and told["same"] == "the first"
    assert all("is the folder of another job" in told[name] for name in ("same_1", "same_2"))


def test_job_whose_folder_holds_a_finished_run_is_in_the_report_and_the_run_stays(job, tmp_path: Path):
    job(finishing, "same", 0)
    with pytest.raises(ConfigError, match="is the folder of another job"):
        job(finishing, "same", 1)
    (tmp_path / SWEEP).touch()  # another sweep, into the same folder
    with pytest.raises(ConfigError, match="already holds a run"):
        job(finishing, "same", 2)
    with pytest.raises(ConfigError, match="out of range"):
        job(failing("out of range"), "same", 3)
    told = reasons(tmp_path)
    assert told.keys() == {"same", "same_1", "same_2", "same_3"} and told["same"] == "finished"
    assert "already holds a run" in told["same_2"] and told["same_3"] == "out of range"


def test_job_whose_folder_is_in_use_is_in_the_report(job, tmp_path: Path):
    (tmp_path / "same").mkdir()
    lock = FolderLock(tmp_path / "same")
    with pytest.raises(InUseError):
        job(finishing, "same", 4)
    lock.release()
    assert list(reasons(tmp_path)) == ["same_4"] and "is in use" in reasons(tmp_path)["same_4"]


def test_job_that_would_write_elsewhere_is_refused_and_in_the_report(job, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"run_dir: the run is in .*hydra\.run\.dir="):
        job(finishing, "one", 0, f"run_dir={tmp_path / 'elsewhere'}")
    assert list(reasons(tmp_path)) == ["one"] and not (tmp_path / "elsewhere").exists()


def test_resumed_job_that_fails_at_once_says_why_and_a_finished_one_stays(job, tmp_path: Path):
    job(finishing, "one", 0)
    job(finishing, "two", 1)
    (tmp_path / "two" / "metrics.json").unlink()  # it was stopped
    (tmp_path / "two" / "checkpoints").mkdir()
    (tmp_path / "two" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / SWEEP).touch()  # as Hydra does when the sweep is resumed
    resume = f"sweep.resume={tmp_path}"
    job(failing("no data"), "one", 0, resume)
    with pytest.raises(ConfigError, match="no data"):
        job(failing("no data"), "two", 1, resume)
    assert reasons(tmp_path) == {"one": "finished", "two": "no data"}


def test_job_that_is_killed_before_it_has_a_config_is_in_the_report(job, tmp_path: Path):
    told = []
    job(lambda cfg: told.append(reasons(tmp_path)), "one", 0)
    assert list(told[0]) == ["one"] and "without a word before it had a config" in told[0]["one"]


@pytest.mark.parametrize("wrong", ["choices.model=[1]", "sweep=null"])
def test_job_that_lacks_what_its_record_is_made_of_is_in_the_report(wrong: str, job, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^(choices|sweep).*: expected"):
        job(finishing, "one", 0, wrong)
    assert list(reasons(tmp_path)) == ["one"] and "expected" in reasons(tmp_path)["one"]


def test_job_without_a_seed_is_in_the_report(job, tmp_path: Path):
    with pytest.raises(ConfigError, match="no seed"):
        job(failing("no seed"), "one", 0, "~seed")
    assert read_record(tmp_path / "one" / "status.json", EndRecord).seed is None


def test_record_of_a_sweep_has_a_checksum_and_damage_is_named(tmp_path: Path):
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"], "hydra": []}}}, tmp_path / SWEEP)
    seal_record(tmp_path)
    whole = (tmp_path / SWEEP).read_text()
    (tmp_path / SWEEP).write_text(whole.replace("seed=0,1", "seed=0,3"))
    with pytest.raises(ConfigError, match=rf"{SWEEP} is damaged: its bytes are not .+Restore it"):
        resumed([f"sweep.resume={tmp_path}"])
    (tmp_path / SWEEP).write_text(whole)
    assert "seed=0,1" in resumed([f"sweep.resume={tmp_path}"])


def test_record_of_a_sweep_is_whole_while_hydra_writes_it_anew(tmp_path: Path):
    OmegaConf.save({"hydra": {"overrides": {"task": ["seed=0,1"], "hydra": []}}}, tmp_path / SWEEP)
    keep_record(tmp_path)
    (tmp_path / SWEEP).write_text("hydra:\n  overrides:\n    task: []\n    hydra: []\n")  # killed amid it
    keep_record(tmp_path)
    assert "seed=0,1" in resumed([f"sweep.resume={tmp_path}"])
    seal_record(tmp_path)
    assert not (tmp_path / EARLIER).exists()


def test_sweep_s_record_is_sealed_when_its_first_job_is_composed(tmp_path: Path):
    master = composed("seed=0")
    OmegaConf.save(master, tmp_path / SWEEP)
    loader = JobLoader.__new__(JobLoader)
    loader.is_sealed = False
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    with pytest.raises(AttributeError):  # the rest of it is Hydra's
        loader.load_sweep_config(config, [])
    assert loader.is_sealed and (tmp_path / SWEEP).read_text().splitlines()[-1].startswith("# crc32:")

"""Jobs that a stopped sweep never began are in its report, however it was stopped; those that begin are there once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT
from omegaconf import OmegaConf, open_dict

from foundation.errors import ConfigError
from jobs.composition import composed, load
from jobs.job_folder import REFUSED, find_by_job_folder, register_job_folder
from jobs.run_end import record_begin, recording_end
from jobs.sweep_jobs import JobLoader
from jobs.waiting_jobs import has_begun, leave_records, remove_record, waiting_record
from reports.run_folders import find_runs
from run_folder.layout import STATUS, SWEEP, WAITING
from run_folder.records import EndRecord, write_record

STUB = """
import os, sys
sys.path.insert(0, {project!r})
from pathlib import Path
import train
from jobs.command_line import run
from run_folder.records import RunRecord, write_record
from jobs.run_start import save_config

def stub(cfg):
    if cfg.seed == {ends_at}:
        {by}
    save_config(cfg, Path(cfg.run_dir))
    write_record(Path(cfg.run_dir, "metrics.json"), RunRecord(scores={{}}))

train.train = stub
run(train.main)
"""
KILLED, STOPPED, NOTHING = "os._exit(9)", "raise KeyboardInterrupt", "pass"


def sweep(folder: Path, ends_at: int, by: str, *arguments: str) -> subprocess.CompletedProcess:
    script = STUB.format(project=str(PROJECT), ends_at=ends_at, by=by)
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip


def statuses(folder: Path) -> dict[tuple[str | None, int | None], str]:
    """What the report says of each run, by its model and seed; each is there once."""
    runs = find_runs([folder])
    by_run = {(run.model, run.seed): run.status for run in runs}
    assert len(by_run) == len(runs)
    return by_run


def test_jobs_that_a_sweep_never_began_are_in_its_report_until_it_is_resumed(tmp_path: Path):
    begin = ("-m", "model=vae", "seed=0,1,2", "hydra.sweep.dir=sweep")
    assert sweep(tmp_path, 1, KILLED, *begin).returncode == 9
    found = statuses(tmp_path / "sweep")
    assert found == {("vae", 0): "finished", ("vae", 1): "unfinished", ("vae", 2): "never begun"}
    message = next(run.message for run in find_runs([tmp_path / "sweep"]) if run.seed == 2)
    assert "seed=2" in message and "not begun yet" in message

    assert sweep(tmp_path, 1, STOPPED, "sweep.resume=sweep").returncode == 130
    assert statuses(tmp_path / "sweep") == {("vae", 0): "finished", ("vae", 1): "stopped", ("vae", 2): "never begun"}
    report = (tmp_path / "sweep" / "report" / "report.md").read_text()
    assert "never begun" in report

    assert sweep(tmp_path, 1, NOTHING, "sweep.resume=sweep").returncode == 0
    assert set(statuses(tmp_path / "sweep").values()) == {"finished"} and not (tmp_path / "sweep" / WAITING).exists()


def test_a_sweep_of_two_jobs_at_a_time_has_all_in_its_report(tmp_path: Path):
    given = ("-m", "seed=0,1,2", "hydra.sweep.dir=sweep", "hydra.sweeper.max_batch_size=2")
    assert sweep(tmp_path, 0, KILLED, *given).returncode == 9
    messages = sorted(run.message for run in find_runs([tmp_path / "sweep"]) if run.status == "never begun")
    assert [message.partition(":")[0] for message in messages] == ["seed=1", "seed=2"]


def test_the_record_of_a_waiting_job_goes_when_it_has_another(tmp_path: Path):
    (tmp_path / SWEEP).write_text("")
    leave_records(tmp_path, [waiting_record([f"seed={seed}"], {"seed": seed}) for seed in range(3)])
    assert len(find_runs([tmp_path])) == 3 and not has_begun(tmp_path)
    for number in (0, 1):
        hydra = ["hydra.mode=MULTIRUN", f"hydra.sweep.dir={tmp_path}", f"hydra.job.num={number}"]
        composed(*hydra, run_dir=tmp_path / "same")
        with pytest.raises(ConfigError), recording_end(tmp_path / "same", {"seed": number}, resumes=False):
            if number == 0:
                record_begin(tmp_path / "same", {"seed": 0})
                assert {run.name for run in find_runs([tmp_path])} == {"same", f"{WAITING}/1", f"{WAITING}/2"}
            raise ConfigError("no")  # the second can't have the folder, and leaves its record beside it
    assert {run.name: run.seed for run in find_runs([tmp_path])} == {"same": 0, "same_1": 1, f"{WAITING}/2": 2}
    assert has_begun(tmp_path)
    remove_record(tmp_path, 2)
    assert not (tmp_path / WAITING).exists()


def test_a_new_sweep_in_a_folder_forgets_what_an_earlier_one_never_began(tmp_path: Path):
    leave_records(tmp_path, [waiting_record([], {}) for _ in range(3)])
    leave_records(tmp_path, [waiting_record([], {})])
    assert [run.name for run in find_runs([tmp_path])] == [f"{WAITING}/0"]


# Their folders


def job(folder: Path, number: int, subdir: str):
    """The config of a job as Hydra has it when it asks for its folder."""
    config = load([f"hydra.sweep.dir={folder}", f"hydra.job.num={number}", f"seed={number}"])
    with open_dict(config):
        config.hydra.sweep.subdir = subdir
    find_by_job_folder(config)
    register_job_folder()
    return config


@pytest.mark.parametrize("subdir", ["seed-${seed}", "below/seed-${seed}"])
def test_a_file_in_the_place_of_a_job_s_folder_is_that_job_s_alone(subdir: str, tmp_path: Path):
    (tmp_path / subdir.replace("${seed}", "1")).parent.mkdir(exist_ok=True)
    (tmp_path / subdir.replace("${seed}", "1")).touch()
    folders = {}
    for number in (0, 1, 2):
        config = job(tmp_path, number, subdir)
        folders[number] = OmegaConf.select(config, "hydra.sweep.subdir")
        assert (REFUSED in config) == (number == 1)
        if number == 1:
            assert "something that is no folder lies in the place of this job's" in config[REFUSED]
    assert folders == {0: subdir.replace("${seed}", "0"), 1: "job_1", 2: subdir.replace("${seed}", "2")}


def test_a_name_that_no_folder_can_have_is_that_job_s_alone(tmp_path: Path):
    for subdir, words in (("x" * 300, "File name too long"), ("${nothing}", "can't be resolved"),
                          ("${seed.a}", "can't be resolved"), ("${unknown:1}", "can't be resolved")):  # fmt: skip
        config = job(tmp_path, 4, subdir)
        assert OmegaConf.select(config, "hydra.sweep.subdir") == "job_4"
        assert words in config[REFUSED]


def test_what_could_not_be_composed_stays_the_reason(tmp_path: Path):
    config = job(tmp_path, 0, "${nothing}")
    with open_dict(config):
        config[REFUSED] = "no such model"
    assert OmegaConf.select(config, "hydra.sweep.subdir") == "job_0" and config[REFUSED] == "no such model"


def test_sweep_whose_folders_can_not_be_named_ends_before_the_first_job(tmp_path: Path):
    loader = JobLoader.__new__(JobLoader)
    loader.jobs, loader.at_once, loader.identities, loader.refused = [["a"], ["b"]], 2, [], []
    loader._expect(job(tmp_path, 0, "${nothing}"))
    loader._expect(job(tmp_path, 1, "seed-${seed}_${hydra:job.num}_${hydra:job.id}"))
    loader.jobs, loader.identities, loader.refused = [["a"], ["b"]], [], []
    loader._expect(job(tmp_path, 0, "${nothing}"))
    with pytest.raises(ConfigError, match=r"^hydra\.sweep\.subdir: \$\{nothing\} can't be resolved"):
        loader._expect(job(tmp_path, 1, "${nothing}"))


def test_a_job_elsewhere_may_know_what_is_not_known_here(tmp_path: Path):
    """On a cluster it may go by what its scheduler has set there."""
    loader = JobLoader.__new__(JobLoader)
    loader.jobs, loader.at_once, loader.identities, loader.refused = [["a"]], 1, [], []
    config = job(tmp_path, 0, "${oc.env:ONLY_THERE}")
    config.hydra.launcher._target_ = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    loader._expect(config)
    assert loader.refused == []


@pytest.mark.parametrize(
    "subdir", [".", "a/..", "../${seed}", "a/../../${seed}", "/elsewhere/${seed}", f"{WAITING}/${{seed}}"]
)
def test_a_job_s_folder_lies_below_its_sweep_s_or_the_job_is_refused(subdir: str, tmp_path: Path):
    config = job(tmp_path / "sweep", 0, subdir)
    assert OmegaConf.select(config, "hydra.sweep.subdir") == "job_0"
    assert "hydra.sweep.subdir: a job's folder has to lie below its sweep's" in config[REFUSED]
    assert not (tmp_path / "0").exists() and not Path("/elsewhere").exists()


def test_what_is_no_record_of_a_waiting_job_is_never_removed(tmp_path: Path):
    elsewhere, kept = tmp_path / "home", tmp_path / "sweep" / WAITING / "0" / "best.ckpt"
    for path in (elsewhere / "0" / "thesis.tex", kept):
        path.parent.mkdir(parents=True)
        path.write_text("years of work\n")
    record = waiting_record(["seed=0"], {})
    for _ in range(2):
        leave_records(tmp_path / "sweep", [record, record])
        remove_record(tmp_path / "sweep", 0)
    assert kept.exists() and not kept.with_name(STATUS).exists()
    assert (tmp_path / "sweep" / WAITING / "1" / STATUS).exists()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / WAITING).symlink_to(elsewhere)
    leave_records(tmp_path / "linked", [record])
    remove_record(tmp_path / "linked", 0)
    assert [path.name for path in (elsewhere / "0").iterdir()] == ["thesis.tex"]


def test_a_record_that_a_job_has_written_of_its_own_stays(tmp_path: Path):
    own = EndRecord(status="failed", message="it ran in waiting/0")
    write_record(tmp_path / WAITING / "0" / STATUS, own)
    remove_record(tmp_path, 0)
    assert (tmp_path / WAITING / "0" / STATUS).exists()

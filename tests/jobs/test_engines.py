"""Sweeps on Ray and by submitit: jobs that are lost or requeued resume, and nothing is left running at the end."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from conftest import PROJECT, SMALL_PICTURES
from engines import MARK, all_ended, processes, wait_until
from omegaconf import OmegaConf

from jobs.machine import jobs_of_launcher
from jobs.requeued import resuming

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="finds processes in /proc, Linux's")
SMALL = [
    "network=mlp", "network.encoder.width=8", "network.decoder.width=8", "trainer.accelerator=cpu", "scores.repeats=1",
    *SMALL_PICTURES,
]  # fmt: skip


def begin(folder: Path, mark: str, *overrides: str, **variables: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, str(PROJECT / "train.py"), "-m", "hydra.sweep.dir=sweep", *SMALL, *overrides], cwd=folder,
            stdout=output, stderr=output, env=os.environ | {"OMP_NUM_THREADS": "1", MARK: mark} | variables,
        )  # fmt: skip


def told_end(process: subprocess.Popen, folder: Path, seconds: float) -> str:
    process.wait(seconds)
    output = (folder / "output").read_text()
    assert process.returncode == 0, output
    return output


@pytest.mark.engines
def test_quick_comes_through_on_ray_and_a_job_that_is_killed_resumes(tmp_path: Path):
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    mark = uuid.uuid4().hex
    process = begin(
        tmp_path, mark, "experiment=quick", 'hydra.sweeper.params.seed="0"', "hydra/launcher=ray",
        "trainer.max_epochs=20", "every_n_epochs=20",
    )  # fmt: skip
    try:
        wait_until(lambda: len(list(tmp_path.glob("sweep/**/checkpoints/last.ckpt"))) == 2, 300, "checkpoint of both")
        killed = next(processes(mark, "ray::run_one"))
        os.kill(killed, signal.SIGKILL)
        output = told_end(process, tmp_path, 300)
    finally:
        process.kill()
        is_clean = all_ended(mark)
    assert is_clean, "processes are left running"
    assert output.count("its process was lost, it is begun again") == 1
    assert output.count("resuming after epoch") == 1
    records = [json.loads(path.read_text()) for path in tmp_path.glob("sweep/**/metrics.json")]
    assert sorted((record["model"], record["images_seen"]) for record in records) == [
        ("gan", 20 * 1197), ("vae", 20 * 1197),
    ]  # fmt: skip
    assert (tmp_path / "sweep" / "report" / "index.html").is_file()


@pytest.mark.engines
def test_requeued_job_of_submitit_resumes(tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install -e '.[submitit]'")
    mark = uuid.uuid4().hex
    process = begin(
        tmp_path, mark, "hydra/launcher=submitit_local", "model=vae", "trainer.max_epochs=20", "every_n_epochs=20",
        "hydra.launcher.timeout_min=10", SUBMITIT_PREEMPT_SIGNAL="USR1",
    )  # fmt: skip
    try:
        wait_until(lambda: list(tmp_path.glob("sweep/**/checkpoints/last.ckpt")), 300, "checkpoint")
        (job,) = processes(mark, "submitit.core._submit")
        os.kill(job, signal.SIGUSR1)
        told_end(process, tmp_path, 300)
    finally:
        process.kill()
        is_clean = all_ended(mark)
    assert is_clean, "processes are left running"
    (log,) = tmp_path.glob("sweep/.submitit/*/*_0_log.out")
    said = log.read_text()
    assert said.count("data: 1,197 train") == 2 and "resuming after epoch" in said
    (run,) = (path.parent for path in tmp_path.glob("sweep/**/metrics.json"))
    assert json.loads((run / "metrics.json").read_text())["images_seen"] == 20 * 1197
    assert not (run / "status.json").exists()
    assert (tmp_path / "sweep" / "report" / "index.html").is_file()


def test_a_job_that_slurm_has_begun_again_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install -e '.[submitit]'")
    from hydra.core.singleton import Singleton
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

    from hydra_plugins.vae_vs_gan._submitit_launcher import SlurmLauncher

    given: list[list[str]] = []
    monkeypatch.setattr(BaseSubmititLauncher, "__call__", lambda self, overrides, *others: given.append(overrides))
    launcher = SlurmLauncher()
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    call = ("hydra.sweep.dir", 0, "0", Singleton.get_state())
    launcher(["seed=0"], *call)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    launcher(["seed=0"], *call)
    assert given == [["seed=0"], ["seed=0", f"sweep.resume={tmp_path}", "sweep.requeued=true"]]
    requeued = launcher.checkpoint(["seed=0"], *call)
    assert requeued.args == (given[1], *call)


def test_resuming_is_said_once():
    config = OmegaConf.create({"hydra": {"sweep": {"dir": "a b"}}})
    once = resuming(["seed=0"], config)
    assert once == ["seed=0", "sweep.resume='a b'", "sweep.requeued=true"] == resuming(once, config)


def test_jobs_that_submitit_runs_here_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jobs.machine.available_cores", lambda: 8)
    local = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
    for cores, jobs in ((None, 8), (1, 8), (3, 2), (8, 1), (9, 1)):
        assert jobs_of_launcher(OmegaConf.create({**local, "cpus_per_task": cores})) == jobs
    assert jobs_of_launcher(OmegaConf.create({"_target_": "x.SlurmLauncher", "cpus_per_task": 4})) == 1


@pytest.mark.parametrize(
    ("machines", "n_jobs", "share"),
    [
        ([(8, 0)], 2, (4, 0)),
        ([(8, 0)], 3, (2, 0)),
        ([(2, 0)], 5, (1, 0)),
        ([(8, 1)], 2, (4, 0.5)),
        ([(16, 2)], 3, (5, 0.5)),  # two on one of the GPUs
        ([(16, 8)], 2, (8, 1)),  # a job uses one
        ([(8, 1), (8, 1), (16, 1)], 3, (8, 1)),
        ([(8, 1), (8, 1)], 3, (4, 0.5)),
        ([(30, 1)], 3, (10, 0.3333)),
    ],
)
def test_share_of_a_job_of_ray(machines: list[tuple[int, int]], n_jobs: int, share: tuple[int, float]):
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    from jobs import ray_jobs

    settings = {"n_jobs": n_jobs, "cpus_per_job": None, "gpus_per_job": None}
    found = ray_jobs.share_of_a_job([ray_jobs.Machine(*machine) for machine in machines], settings)
    assert found == share
    at_once = sum(
        min(cores // found.cores, int(gpus / found.gpus) if found.gpus else cores) for cores, gpus in machines
    )
    assert at_once >= min(n_jobs, sum(cores for cores, _ in machines))

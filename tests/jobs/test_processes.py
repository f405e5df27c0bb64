"""One process alone, or one of several: by what torchrun, srun and Lightning put into the environment."""

import os
import signal
import sys

import pytest
from lightning import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment

from foundation.errors import ConfigError
from jobs import machine
from jobs.command_line import run
from jobs.composition import composed
from jobs.processes import RANKS, is_first_process, leave_allocation_alone, started_together
from jobs.stopping import Stopped


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*RANKS, "WORLD_SIZE", *(name for name in os.environ if name.startswith("SLURM_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_NAME", "fits")  # so that it is as it was afterwards


ALLOCATION = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    ("environment", "processes"),
    [
        ({}, 1),
        (ALLOCATION, 1),  # salloc, or a batch script
        (ALLOCATION | {"SLURM_PROCID": "0"}, 1),  # a batch script
        (ALLOCATION | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, 1),  # srun --pty bash
        (ALLOCATION | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}, 4),  # srun
        (ALLOCATION | {"SLURM_PROCID": "3"}, 4),
        ({"WORLD_SIZE": "2", "RANK": "0"}, 2),  # torchrun
        ({"WORLD_SIZE": "1", "RANK": "0"} | ALLOCATION, 1),
    ],
)
def test_an_allocation_is_no_sign_of_other_processes(
    environment: dict[str, str], processes: int, monkeypatch: pytest.MonkeyPatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started_together() == processes
    cfg = composed()
    if processes == 1:
        machine.check_processes(cfg.trainer)
    else:
        with pytest.raises(ConfigError, match=r"hydra\.run\.dir"):
            machine.check_processes(cfg.trainer)


def test_lightning_waits_for_no_other_process_of_an_allocation(monkeypatch: pytest.MonkeyPatch):
    for name, value in ALLOCATION.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match="--ntasks=4"):  # as it does by itself
        Trainer(accelerator="cpu", devices=1, logger=False)
    leave_allocation_alone()
    trainer = Trainer(accelerator="cpu", devices=1, logger=False)
    assert trainer.world_size == 1
    connector = trainer._accelerator_connector
    assert isinstance(connector.cluster_environment, LightningEnvironment)


def test_processes_of_srun_are_left_to_lightning(monkeypatch: pytest.MonkeyPatch):
    for name, value in (ALLOCATION | {"SLURM_STEP_NUM_TASKS": "4"}).items():
        monkeypatch.setenv(name, value)
    leave_allocation_alone()
    assert os.environ["SLURM_JOB_NAME"] == "fits"


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
    ],
)
@pytest.mark.parametrize("end", [Stopped(signal.SIGTERM, "go on"), KeyboardInterrupt()], ids=["SIGTERM", "Ctrl-C"])
def test_one_process_alone_says_that_it_was_stopped(
    end: BaseException, environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch, capsys
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def main() -> None:
        raise end

    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit):
        run(main)
    assert is_first_process() == first
    assert ("stopped by" in capsys.readouterr().err) == first

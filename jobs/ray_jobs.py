"""Jobs of a sweep as tasks of Ray: how many cores and GPUs each has, and what becomes of one whose process is lost."""

import io
import logging
import os
import shlex
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import ray
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

from foundation.errors import ConfigError, UserError
from foundation.progress import say

from .config_check import check_values
from .machine import available_cores, threads_of_a_job
from .requeued import resuming

LOCAL = "local"  # the address of a cluster of this machine's own, begun for a sweep and ended with it
LOST = (WorkerCrashedError, NodeDiedError, OutOfMemoryError)  # of a job's process: killed, or its machine is gone


class Machine(NamedTuple):
    """What a machine of the cluster has."""

    cores: int
    gpus: int


class Share(NamedTuple):
    """What a job has of one."""

    cores: int
    gpus: float


class Sweep(NamedTuple):
    """What its jobs have in common."""

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    settings: Mapping[str, Any]  # of conf/hydra/launcher/ray.yaml
    types: Mapping[str, Any]  # and what they may be


class Job(NamedTuple):
    """One of them, and how often its process may still be lost."""

    number: int
    overrides: list[str]
    retries: int


def launch(sweep: Sweep, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Run jobs, numbered from `first` on, `n_jobs` at a time. Raises UserError where there is no such cluster."""
    setup_globals()
    check_values("hydra.launcher.", dict(sweep.settings), sweep.types)
    configure_log(sweep.config.hydra.hydra_logging, sweep.config.hydra.verbose)
    with cluster(sweep.settings["address"]) as machines:
        share = share_of_a_job(machines, sweep.settings)
        say(f"Ray: machines {len(machines)}; each job has {share.cores} cores, {share.gpus:g} GPUs")
        return run_jobs(sweep, share, job_overrides, first)


def share_of_a_job(machines: Sequence[Machine], settings: Mapping[str, Any]) -> Share:
    """The cores and GPUs of a job, where they are not given, such that `n_jobs` of them fit on the machines at once.

    A job uses one GPU at most, and several share one where there are more jobs than GPUs.
    """
    at_once, gpus = settings["n_jobs"], sum(machine.gpus for machine in machines)
    on_each = ceil(at_once / len(machines))
    cores = settings["cpus_per_job"] or threads_of_a_job(min(machine.cores for machine in machines), on_each)
    of_a_gpu = int(1e4 / ceil(at_once / gpus)) / 1e4 if gpus else 0.0  # Ray counts in ten thousandths
    given = settings["gpus_per_job"]
    share = Share(cores, of_a_gpu if given is None else given)
    if not any(machine.cores >= share.cores and machine.gpus >= share.gpus for machine in machines):
        raise ConfigError(
            f"hydra.launcher: no machine of this cluster has the {share.cores} cores and {share.gpus:g} GPUs of a job "
            "(cpus_per_job=, gpus_per_job=)"
        )
    return share


@contextmanager
def cluster(address: str) -> Iterator[list[Machine]]:
    """A connection to the cluster at an address; `local` begins one of this machine alone, which ends with it."""
    own: dict[str, Any] = {"num_cpus": available_cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # Ray prints what jobs say, and flushes nothing
    try:
        ray.init(address=address, logging_level=logging.ERROR, **(own if address == LOCAL else {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"hydra.launcher.address={address}: {str(error).splitlines()[0]}") from error
    try:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        with_cores = [node for node in alive if node.get("CPU", 0) >= 1]  # a head may have none, for jobs
        if not with_cores:
            raise UserError(f"hydra.launcher.address={address}: that cluster has no cores for jobs")
        yield [Machine(int(node["CPU"]), int(node.get("GPU", 0))) for node in with_cores]
    finally:
        ray.shutdown()


def run_jobs(sweep: Sweep, share: Share, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """All of them, in their order. One whose process is lost is begun again, and resumes."""
    retries = sweep.settings["max_retries"]
    waiting = deque(Job(number, list(given), retries) for number, given in enumerate(job_overrides, first))
    # A process is of one job alone, so that nothing of the one before is left in it or on its GPU.
    task = ray.remote(num_cpus=share.cores, num_gpus=share.gpus, max_calls=1, max_retries=0)(run_one)
    threads = None if "OMP_NUM_THREADS" in os.environ else share.cores
    state = Singleton.get_state()
    running: dict[Any, Job] = {}
    ended: dict[int, JobReturn] = {}
    while waiting or running:
        while waiting and len(running) < sweep.settings["n_jobs"]:
            job = waiting.popleft()
            begun = task.remote(
                sweep.hydra_context, sweep.config, sweep.task_function, state, job.number, job.overrides, threads
            )
            running[begun] = job
        (done, *_), _ = ray.wait(list(running))
        job = running.pop(done)
        try:
            ended[job.number] = ray.get(done)
        except LOST as error:
            if job.retries:
                say(f"job {job.number}: its process was lost, it is begun again ({job.retries} more times)")
                waiting.appendleft(Job(job.number, resuming(job.overrides, sweep.config), job.retries - 1))
            else:
                ended[job.number] = failed(job, sweep.config, error)
        except RayTaskError as error:
            ended[job.number] = failed(job, sweep.config, error)
    return [ended[number] for number in sorted(ended)]


def failed(job: Job, config: DictConfig, error: Exception) -> JobReturn:
    """What Hydra is told of a job that did not come to tell how it ended."""
    words = shlex.join(filter_overrides(job.overrides))
    lost = UserError(f"job {job.number} ({words}): {str(error).splitlines()[0]}")
    ended = JobReturn(overrides=job.overrides, cfg=config, status=JobStatus.FAILED)
    ended.return_value = lost
    return ended


def run_one(
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    state: Mapping[Any, Any],
    number: int,
    overrides: Sequence[str],
    threads: int | None,
) -> JobReturn:
    """One job, in a process of Ray's."""
    setup_globals()
    Singleton.set_state(dict(state))
    if threads is not None:
        import torch

        os.environ["OMP_NUM_THREADS"] = str(threads)  # as `use_machine` and libraries read it
        torch.set_num_threads(threads)
    job_config = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(job_config):
        job_config.hydra.job.id = f"{job_config.hydra.job.name}_{number}"
        job_config.hydra.job.num = number
    HydraConfig.instance().set_config(job_config)
    return run_job(
        hydra_context=hydra_context,
        config=job_config,
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )

"""How one job uses the machine it runs on: threads, float32 products on GPUs, and processes."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning import Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig

from foundation.errors import ConfigError, UserError

from .processes import started_together

FIRST_PROCESS = "VAE_VS_GAN_FIRST_PROCESS"  # in the environment: its id, for those that Lightning has it start
LOCAL_QUEUE = "submitit_launcher.LocalLauncher"  # submitit's on this machine, however it is called in full
PATIENCE = 5.0  # seconds for a process to notice by itself


class LostProcessError(UserError):
    """Another of the processes that train together has ended; this one can't go on without it."""


def writes() -> bool:
    """Whether this process is the one, of those that train together, that writes into the run folder."""
    return getattr(rank_zero_only, "rank", 0) == 0


def use_machine(tf32: bool) -> None:
    """Take this job's share of the CPU and, with `tf32`, a GPU's faster matrix product (10 bits of mantissa)."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads_of_a_job(available_cores(), jobs_at_once()))
    if tf32 and torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    without_driver_checks()


def without_driver_checks() -> None:
    """Where there is no GPU, have PyTorch not look for a driver's library in every step.

    Lightning has it ask that library, since asking CUDA itself forbids to fork; every step of Adam asks whether there
    is a GPU, and a library that is not there is searched for anew each time: 40 µs.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def device_of(accelerator: str) -> torch.device:
    """The one device that Lightning takes where it is asked for this accelerator."""
    return Trainer(accelerator=accelerator, devices=1, logger=False, barebones=True).strategy.root_device


def threads_of_a_job(cores: int, jobs: int) -> int:
    """Jobs that run at once share the cores: more threads than cores make all of them slower."""
    return max(1, cores // jobs)


def jobs_at_once() -> int:
    """How many jobs of this sweep run in parallel on this machine; 1 for a single run."""
    hydra = HydraConfig.get()
    return jobs_of_launcher(hydra.launcher) if hydra.mode == RunMode.MULTIRUN else 1


def jobs_of_launcher(launcher: DictConfig) -> int:
    """How many jobs of a sweep a launcher runs in parallel on this machine."""
    if str(launcher.get("_target_")).endswith(LOCAL_QUEUE):
        return max(1, available_cores() // (launcher.get("cpus_per_task") or 1))
    jobs = launcher.get("n_jobs", 1)  # joblib's word, and Ray's here; -1 is all cores, -2 all but one
    return jobs if jobs > 0 else max(1, available_cores() + 1 + jobs)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_processes(trainer: DictConfig) -> None:
    """Raise ConfigError where several processes would each do what only all of them together should."""
    hydra = HydraConfig.get()
    if trainer.get("strategy", "auto") != "auto" and hydra.mode == RunMode.MULTIRUN:
        raise ConfigError(
            "trainer: in a sweep (-m) each of several processes would start the sweep again. "
            "Start the jobs one by one, or let a launcher for clusters start them (docs/scale.md)"
        )
    if started_together() > 1 and not any(override.startswith("hydra.run.dir=") for override in hydra.overrides.hydra):
        raise ConfigError(
            "hydra.run.dir: processes that are started together, by torchrun or srun, must be told one run folder, "
            "such as hydra.run.dir=outputs/my_run: left to themselves each would name another, by its own clock"
        )


def check_images_are_dealt_out(trainer: Trainer, config: DictConfig) -> None:
    """Raise ConfigError where Lightning's sampler would deal out again what the data modules have dealt out already.

    Each of several processes would then see only a part of its part: with two, half of the test images are not scored.
    """
    if trainer.world_size > 1 and config.get("use_distributed_sampler", True):
        raise ConfigError(
            f"trainer.devices={config.devices}: {trainer.world_size} processes need the strategy of trainer=ddp and "
            f"its way of dealing out images: give trainer=ddp trainer.devices={config.devices}"
        )


def is_of_lost_process(error: Exception) -> bool:
    """Whether an error says that one of several processes no longer hears of another."""
    return isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error)


def first_words(error: Exception) -> str:
    """Of what a library says of it."""
    return str(error).splitlines()[0].rpartition("] ")[2].partition(". ")[0]


def lost_process(how: str) -> str:
    """What it means for this process to no longer hear of another."""
    own = getattr(rank_zero_only, "rank", 0)
    return f"process {own} has lost another of those that train together, which was ended or hangs ({how})"


@contextmanager
def ended_with_first_process(advice: Callable[[], str]) -> Iterator[None]:
    """Have the processes that the first one starts end soon after it, with advice what to do next.

    They usually notice by themselves. Where they have not met yet they would wait half an hour, inside of a library.
    """
    if writes():
        os.environ[FIRST_PROCESS] = str(os.getpid())
    first = os.environ.get(FIRST_PROCESS)
    if writes() or first is None:  # if something else has started them, it looks after them
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while os.getppid() == int(first):
            if over.wait(1):
                return
        if not over.wait(PATIENCE):
            print(f"error: {lost_process('it had started this one')}; {advice()}", file=sys.stderr, flush=True)
            os._exit(1)  # this process writes nothing that could be lost

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()

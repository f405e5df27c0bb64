"""Loops in processes of their own, as their users have them: none inherits what another has made of its process."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch
from omegaconf import DictConfig

from callbacks.run_recorder import peak_memory_bytes, reset_peak_memory
from datamodules.image_datamodule import ImageDataModule
from jobs.machine import without_driver_checks

from .loops import ready

Loop = Callable[[DictConfig, ImageDataModule, int, int], float | None]

# A server imports PyTorch once, and each process is forked from it; Windows has none.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
if METHOD == "forkserver":
    CONTEXT.set_forkserver_preload([__name__])


def timed_apart(loop: Loop, cfg: DictConfig, warm_up: int, steps: int, threads: int | None) -> tuple[float | None, int]:
    """What a loop returns, seconds or None where it can't train the model; and its process's peak memory in bytes."""
    with ProcessPoolExecutor(max_workers=1, mp_context=CONTEXT) as pool:
        return pool.submit(_timed, loop, cfg, warm_up, steps, threads).result()


def _timed(loop: Loop, cfg: DictConfig, warm_up: int, steps: int, threads: int | None) -> tuple[float | None, int]:
    without_driver_checks()  # as in a run
    if threads:
        torch.set_num_threads(threads)
    datamodule = ready(cfg)
    reset_peak_memory()
    return loop(cfg, datamodule, warm_up, steps), peak_memory_bytes()

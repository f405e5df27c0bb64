"""Loops in processes of their own, as their users have them: none inherits what another has made of its process."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import torch
from omegaconf import DictConfig

from callbacks.run_recorder import peak_memory_bytes, reset_peak_memory
from jobs.machine import without_driver_checks

from . import loops, peers, variants

# A server imports PyTorch once, and each process is forked from it; Windows has none.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
CONTEXT = multiprocessing.get_context(METHOD)
if METHOD == "forkserver":
    CONTEXT.set_forkserver_preload([__name__])


def timed_apart(loop: str, cfg: DictConfig, warm_up: int, steps: int, threads: int | None) -> tuple[float | None, int]:
    """Seconds of a loop, a peer or a variant by its name, None where it can't train the model; and peak bytes."""
    with ProcessPoolExecutor(max_workers=1, mp_context=CONTEXT) as pool:
        return pool.submit(_timed, loop, cfg, warm_up, steps, threads).result()


def _timed(loop: str, cfg: DictConfig, warm_up: int, steps: int, threads: int | None) -> tuple[float | None, int]:
    without_driver_checks()  # as in a run
    if threads:
        torch.set_num_threads(threads)
    module = loops if loop in loops.LOOPS else peers if loop in peers.PEERS else variants
    datamodule = loops.ready(cfg)
    reset_peak_memory()
    return getattr(module, loop)(cfg, datamodule, warm_up, steps), peak_memory_bytes()

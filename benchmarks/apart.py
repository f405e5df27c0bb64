"""Loops in processes of their own, as their users have them: none inherits what another has made of its process.

They train side by side, but take turns: while one has a block of steps timed, the others wait. What slows the machine
for a while slows all of them.
"""

import contextlib
import multiprocessing
import signal
import statistics
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig

from callbacks.run_recorder import peak_memory_bytes, reset_peak_memory
from jobs.machine import without_driver_checks

from .loops import ready
from .timing import Loop, StepTimer

CONTEXT: Any  # its two types share no base that can start a process
if "forkserver" in multiprocessing.get_all_start_methods():
    CONTEXT = multiprocessing.get_context("forkserver")
    CONTEXT.set_forkserver_preload([__name__])  # PyTorch is imported once, and each process is forked from there
else:
    CONTEXT = multiprocessing.get_context("spawn")

BREATH = 0.02  # seconds between turns: OpenMP's threads look for work for a while yet, Intel's and LLVM's for longer


class Timed(NamedTuple):
    seconds: list[float]  # of each block of steps
    peak_memory: int  # bytes, of the process


class Failure(NamedTuple):
    message: str


class LostLoop(RuntimeError):
    """A loop has failed in its process, or that has ended before its time."""


def timed_in_turns(
    loops: Mapping[str, Loop], cfg: DictConfig, warm_up: int, steps: int, turns: int, threads: int | None
) -> dict[str, Timed]:
    """Of each loop that can train this model `turns` blocks of so many steps, after `warm_up` that don't count."""
    started = {name: Started(name, loop, cfg, threads) for name, loop in loops.items()}
    try:
        trained = {name: each for name, each in started.items() if each.is_ready()}
        for each in trained.values():
            each.take_turn(warm_up)
        seconds: dict[str, list[float]] = {name: [] for name in trained}
        for _ in range(turns):
            for name, each in trained.items():
                seconds[name].append(each.take_turn(steps))
        return {name: Timed(seconds[name], each.end()) for name, each in trained.items()}
    finally:
        for each in started.values():
            each.process.kill()
            each.process.join()


class Started:
    """A loop's process, as the one that gives out the turns sees it."""

    def __init__(self, name: str, loop: Loop, cfg: DictConfig, threads: int | None) -> None:
        self.name = name
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=run, args=(theirs, loop, cfg, threads), daemon=True)
        self.process.start()
        theirs.close()

    def is_ready(self) -> bool:
        """Wait until its first step is due; False if it can't train this model."""
        return self._answer() is None

    def take_turn(self, steps: int) -> float:
        """Seconds that so many steps took."""
        time.sleep(BREATH)
        return float(self._asked(steps))

    def end(self) -> int:
        """Its peak memory, bytes, once it has ended."""
        peak = int(self._asked(0))
        self.process.join()
        return peak

    def _asked(self, steps: int) -> Any:
        with contextlib.suppress(ConnectionError):  # its answer says why
            self.connection.send(steps)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self.connection.recv()
        except (EOFError, ConnectionError):
            raise LostLoop(f"the process of the loop {self.name} ended") from None
        if isinstance(answer, Failure):
            raise LostLoop(f"the loop {self.name} failed: {answer.message}")
        return answer


def run(connection: Connection, loop: Loop, cfg: DictConfig, threads: int | None) -> None:
    """A loop's process. It sends None when it is ready to step, the seconds of each block, and at last a size."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ended by who has started it
    try:
        train(connection, loop, cfg, threads)
    except SystemExit as end:
        connection.send(Failure(str(end).removeprefix("error: ")))
    except (EOFError, ConnectionError):
        pass  # who has started it is gone
    except Exception:
        connection.send(Failure(f"\n{traceback.format_exc()}"))


def train(connection: Connection, loop: Loop, cfg: DictConfig, threads: int | None) -> None:
    without_driver_checks()  # as in a run
    if threads:
        torch.set_num_threads(threads)
    datamodule = ready(cfg)
    reset_peak_memory()

    def next_block(seconds: float | None) -> int:
        connection.send(seconds)
        return connection.recv()

    loop(cfg, datamodule, StepTimer(next_block))
    connection.send(peak_memory_bytes())


def median_ratio(theirs: Timed, ours: Timed) -> float:
    """How many times as fast ours is, turn beside turn."""
    return statistics.median(ratios(theirs, ours))


def middle_half(theirs: Timed, ours: Timed) -> tuple[float, float]:
    """Between which the middle half of these ratios is."""
    found = ratios(theirs, ours)
    lower, _, upper = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return lower, upper


def ratios(theirs: Timed, ours: Timed) -> list[float]:
    return [their / our for their, our in zip(theirs.seconds, ours.seconds, strict=True)]

"""The time of a training loop's steps, in blocks: between two of them a loop may wait for its turn."""

import time
from collections.abc import Callable
from typing import Protocol

import torch
from omegaconf import DictConfig

from datamodules.image_datamodule import ImageDataModule

WARM_UP = 5  # steps


class StepTimer:
    """Asked by a loop before each of its steps, whether there is to be one."""

    def __init__(self, next_block: Callable[[float | None], int]) -> None:
        """`next_block` is given the seconds of the block that has ended, None before the first, and says how many steps
        the next one has; 0 ends the loop.
        """
        self._next_block = next_block
        self._left = 0
        self._seconds: float | None = None
        self._since: float | None = None  # None while the clock stands still

    def begins_step(self, device: torch.device) -> bool:
        """Whether there is another step, which is timed from here to the next call."""
        if self._left == 0:
            self.pause(device)
            self._left = self._next_block(self._seconds)
            self._seconds = 0.0
            if self._left == 0:
                return False
        self._left -= 1
        if self._since is None:
            wait_for(device)  # what was left out may still be computed there
            self._since = time.perf_counter()
        return True

    def pause(self, device: torch.device) -> None:
        """Leave out what comes now, until the next step begins."""
        if self._since is not None and self._seconds is not None:
            wait_for(device)
            self._seconds += time.perf_counter() - self._since
            self._since = None


class Loop(Protocol):
    """One way to train a model of a config, for as many steps as the timer wants."""

    def __call__(self, cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer, /) -> bool:
        """Whether it can train this model at all."""


def seconds_of(loop: Loop, cfg: DictConfig, datamodule: ImageDataModule, warm_up: int, steps: int) -> float:
    """Seconds for `steps` of a loop in this process, after `warm_up` that don't count. ValueError if it can't train."""
    found: list[float | None] = []
    sizes = iter((warm_up, steps, 0))

    def next_block(seconds: float | None) -> int:
        found.append(seconds)
        return next(sizes)

    if not loop(cfg, datamodule, StepTimer(next_block)) or found[-1] is None:
        raise ValueError(f"{loop} can't train {cfg.model._target_}")
    return found[-1]


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

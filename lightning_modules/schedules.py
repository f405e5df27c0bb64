"""Schedules of learning rates: a factor on every optimizer's own, by training images seen."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch.optim import Optimizer

from foundation.ranges import Count

FULL_LEARNING_RATE = "initial_lr"  # torch's name for it in an optimizer's groups; it is saved with the optimizer


class Schedule(ABC):
    """A function of the clock alone, so that a resumed run is where it was."""

    spans_run: ClassVar[bool] = False  # whether it depends on how long the run is, so that that can't be prolonged

    @abstractmethod
    def factor(self, images_seen: int, run_length: float) -> float:
        """Of the learning rate in the batch by which `images_seen` of the run's `run_length` images are seen."""

    def __call__(self, optimizer: Optimizer, images_seen: int, run_length: float) -> None:
        """Set the optimizer's learning rates, which are its own times the factor."""
        factor = self.factor(images_seen, run_length)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault(FULL_LEARNING_RATE, group["lr"]) * factor


class ConstantSchedule(Schedule):
    """The neutral element: every optimizer's own learning rate."""

    def factor(self, images_seen: int, run_length: float) -> float:
        return 1.0


class WarmUpSchedule(Schedule):
    """Learning rates grow linearly over the first `images` training images, and stay (Goyal et al. 2017,
    arXiv:1706.02677, section 2.2).
    """

    def __init__(self, images: Count) -> None:
        self.images = images

    def factor(self, images_seen: int, run_length: float) -> float:
        return min(1.0, images_seen / self.images)


class CosineSchedule(Schedule):
    """Half a cosine over the run, from 1 to `final` (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, one cycle)."""

    spans_run = True

    def __init__(self, final: Annotated[float, Interval(ge=0, le=1)]) -> None:
        self.final = final

    def factor(self, images_seen: int, run_length: float) -> float:
        return half_cosine(1.0, self.final, images_seen / run_length)


class OneCycleSchedule(Schedule):
    """From `first` up to 1 over `rise` of the run, then down to `final`, by half a cosine each (Smith & Topin 2018,
    arXiv:1708.07120, with cosines as in torch's OneCycleLR; momentum stays as it is).
    """

    spans_run = True

    def __init__(
        self,
        rise: Annotated[float, Interval(gt=0, lt=1)],
        first: Annotated[float, Interval(ge=0, le=1)],
        final: Annotated[float, Interval(ge=0, le=1)],
    ) -> None:
        self.rise, self.first, self.final = rise, first, final

    def factor(self, images_seen: int, run_length: float) -> float:
        share = images_seen / run_length
        if share < self.rise:
            return half_cosine(self.first, 1.0, share / self.rise)
        return half_cosine(1.0, self.final, (share - self.rise) / (1 - self.rise))


def half_cosine(start: float, end: float, share: float) -> float:
    """Between `start`, where `share` is 0, and `end`, where it is 1; level at both."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

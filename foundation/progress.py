"""Progress of what takes long: a bar on a terminal; in a log a line for each tenth, with the job's name in a sweep.

Everything that shows progress asks here, so that programs which run beside each other do not write over each other's
bars, and lines say whose they are.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt}{unit}, {remaining} left"
BAR_OF_UNKNOWN = "{desc} {n_fmt}{unit}, {elapsed}"
BAR_AFTER = 0.5  # seconds: what is done sooner flashes no bar
LINE_AFTER = 5.0  # seconds between two lines about one task: a short one leaves none in a log
LINE_OF_UNKNOWN_AFTER = 60.0  # the same, where no tenths are known

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """Whose progress it is that this process shows."""

    name: str = ""  # of a job of a sweep; empty: there is only one
    has_terminal: bool = True  # no other job writes to the same one
    is_shown: bool = True  # False in all but the first of processes that work together


_job = Job()


@contextmanager
def progress_of(job: Job) -> Iterator[None]:
    """Show what is inside as this job's progress."""
    global _job
    before, _job = _job, job
    try:
        yield
    finally:
        _job = before


def shows_bars() -> bool:
    """Whether progress is bars; else it is lines."""
    return _job.is_shown and _job.has_terminal and sys.stderr.isatty() and sys.stdout.isatty()


def say(text: str) -> None:
    """Print a line, with the name of the job where there are several, above whatever bars there are."""
    if not _job.is_shown:
        return
    line = f"[{_job.name}] {text}" if _job.name else text
    if shows_bars():
        tqdm.write(line)  # which redraws them
    else:
        print(line, flush=True)


class Task:
    """Something that takes a while, of `total` parts, and how much of it is done."""

    def __init__(self, title: str, total: int | None, unit: str) -> None:
        """`total`: None where it is unknown until the task is closed; `unit`: what the parts are, in the plural."""
        self.title, self.total, self.unit, self.done = title, total, unit, 0
        self._began = self._said = time.monotonic()
        self._bar: tqdm | None = None
        if shows_bars():
            self._bar = tqdm(
                total=total, desc=title, unit=f" {unit}", leave=False, delay=BAR_AFTER, dynamic_ncols=True,
                bar_format=BAR_OF_UNKNOWN if total is None else BAR_FORMAT,
            )  # fmt: skip

    def advance(self, parts: int = 1) -> None:
        before, self.done = self.done, self.done + parts
        if self._bar is not None:
            self._bar.update(parts)
        elif self.total is None:
            self._say_count()
        elif self.total and self.done * 10 // self.total > before * 10 // self.total:
            self._say_if_long(self.total)
        if self.total is not None and self.done >= self.total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _say_if_long(self, total: int) -> None:
        now = time.monotonic()
        has_lines = self._said > self._began
        if now - self._said >= LINE_AFTER or (has_lines and self.done >= total):
            left = (now - self._began) / self.done * (total - self.done)
            pace = f", {tqdm.format_interval(left)} left" if left else ""
            say(f"{self.title} {self.done / total:.0%}, {self.done:,} of {total:,} {self.unit}{pace}")
            self._said = now

    def _say_count(self) -> None:
        now = time.monotonic()
        if now - self._said >= LINE_OF_UNKNOWN_AFTER:
            say(f"{self.title} {self.done:,} {self.unit}")
            self._said = now


@contextmanager
def task(title: str, total: int, unit: str) -> Iterator[Task]:
    """Show the progress of what is inside, which has to `advance` it."""
    shown = Task(title, total, unit)
    try:
        yield shown
    finally:
        shown.close()


def track(items: Iterable[T], total: int, title: str, unit: str) -> Iterator[T]:
    """The items, of which each is done with when the next one is asked for."""
    with task(title, total, unit) as shown:
        for item in items:
            yield item
            shown.advance()

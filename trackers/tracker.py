"""The base of the trackers: what a run sends to them, and what happens when one of them fails."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from torch import Tensor

from foundation.atomic import no_room
from foundation.errors import UserError, first_line
from foundation.extras import require
from foundation.progress import say

Ending = Literal["finished", "failed", "stopped"]


class TrackerError(UserError):
    """A tracker can't begin a run; the message says which, why, and what to do."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it. Nothing in it names a place or a machine."""

    name: str  # by what differs: vae-mlp-digits/seed0
    group: str | None = None  # what the runs of one sweep have in common
    settings: Mapping[str, Any] = field(default_factory=dict)  # all that decides its weights, by dotted name
    differing: Mapping[str, Any] = field(default_factory=dict)  # of those what tells it from other runs
    kept_id: str | None = None  # the tracker's own name for the earlier part of a run that is resumed in its folder
    images_seen: int | None = None  # by the checkpoint that it is resumed from


class Tracker(Logger):
    """Takes a run's scalars, pictures, settings and scores, and the report of a sweep.

    A subclass sends each of them by a method that begins with `_send`. One that fails while a run is trained is told
    of once, and nothing more is sent there: the run goes on, and metrics.csv and the run folder have everything. One
    that can't begin raises TrackerError, before anything expensive.
    """

    library: ClassVar[str] = ""  # the module that has to be there
    extra: ClassVar[str] = ""  # of this project's installation, that brings it
    takes_files: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.has_history = False  # whether it has the curves of the part of the run that is resumed
        self._is_open = False

    @property
    def title(self) -> str:
        """What it is called in messages, and in the record of a run."""
        return (self.library or type(self).__name__).lower()

    @property
    def name(self) -> str:
        return self.title

    @property
    def version(self) -> str:
        return ""

    def begin(self, run: TrackedRun) -> str | None:
        """Begin to track a run. Returns by which name the tracker finds it again. Raises TrackerError."""
        if not is_first():
            return None
        try:
            found = self._begin(run)
        except Exception as error:
            if isinstance(error, UserError) or no_room(error):
                raise
            raise TrackerError(
                f"logger.{self.title}: it can't begin a run: {first_line(error)}. {self._remedy()}, or leave it out of "
                "logger="
            ) from error
        self._is_open = True
        return found

    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        scalars = {name: float(value) for name, value in metrics.items()}
        self._guard(lambda: self._send_scalars(scalars, step or 0))

    def log_picture(self, name: str, path: Path, images_seen: int) -> None:
        """Send a picture that lies in the run folder, under the name that it has at every point of the run."""
        self._guard(lambda: self._send_picture(name, path, images_seen))

    def log_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        """Send what a run's test has come to; its scalars have been logged before."""
        self._guard(lambda: self._send_scores(scores, protocols))

    def log_file(self, path: Path) -> None:
        """Send a file, such as a report, where the tracker takes some."""
        if self.takes_files:
            self._guard(lambda: self._send_file(path))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are sent when the run begins."""

    def close(self, ending: Ending) -> None:
        """End the tracker's run, with all that has been sent."""
        self._guard(lambda: self._close(ending))
        self._is_open = False

    @abstractmethod
    def how_to_look(self) -> str:
        """The command or address that shows what was tracked."""

    def _guard(self, send: Callable[[], None]) -> None:
        if not self._is_open or not is_first():
            return
        try:
            send()
        except Exception as error:
            if no_room(error):  # the run's own files will not fit either
                raise
            self._is_open = False
            say(
                f"logger.{self.title} failed: {first_line(error)}. Nothing more is sent there; the run goes on, and "
                "its folder has everything"
            )
            with suppress(Exception):
                self._abandon()

    def _remedy(self) -> str:
        """What to do where it can't begin, as the beginning of a sentence."""
        return "See to it"

    def _abandon(self) -> None:
        """Let go of the run after something has failed."""
        self._close("failed")

    @abstractmethod
    def _begin(self, run: TrackedRun) -> str | None: ...

    @abstractmethod
    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None: ...

    @abstractmethod
    def _send_picture(self, name: str, path: Path, images_seen: int) -> None: ...

    @abstractmethod
    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None: ...

    @abstractmethod
    def _send_file(self, path: Path) -> None: ...

    @abstractmethod
    def _close(self, ending: Ending) -> None: ...


def check_installed(kind: type, place: str) -> None:
    """Raise ConfigError where a class is a tracker whose library is not installed."""
    if issubclass(kind, Tracker) and kind.library:
        require(place, kind.extra, kind.library)


def is_first() -> bool:
    """Whether this process is the one, of those that train together, that tracks the run."""
    return getattr(rank_zero_only, "rank", 0) == 0

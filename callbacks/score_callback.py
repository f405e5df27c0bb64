"""What callbacks keep for the run's record: those that score a model the results of its last test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning import Callback

from lightning_modules.terms import Terms
from run_folder.records import Score
from scoring.protocol import Protocol


class RecordedCallback(Callback):
    """Base of the callbacks that have something to say in the run's record: `details`, values by its keys."""

    def __init__(self) -> None:
        self.details: dict[str, Any] = {}


class ScoreCallback(RecordedCallback):
    """Base of the callbacks that score: a test fills `results`, `protocols` and `details`, val `val_results`.

    `results` is {test/<score>: its Score}; `protocols` is {hash: protocol}; `details` are other keys of the run's
    record, such as `classes`. `val_results` is {val/<score>: its value} of the last time that val was scored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, Score] = {}
        self.val_results: dict[str, float] = {}
        self.terms: Terms = {}  # what the curves of val's scores are
        self.protocols: dict[str, Protocol] = {}


@dataclass(frozen=True)
class Measured:
    """What all scores of one test have measured."""

    scores: dict[str, Score]
    protocols: dict[str, Protocol]
    details: dict[str, Any]  # other keys of a record


def gather(callbacks: Sequence[Callback]) -> Measured:
    """The results of those callbacks that score, in their order, and the details of all that have some."""
    scoring = [callback for callback in callbacks if isinstance(callback, ScoreCallback)]
    recorded = [callback for callback in callbacks if isinstance(callback, RecordedCallback)]
    return Measured(
        {name: score for callback in scoring for name, score in callback.results.items()},
        {key: protocol for callback in scoring for key, protocol in callback.protocols.items()},
        {name: detail for callback in recorded for name, detail in callback.details.items()},
    )

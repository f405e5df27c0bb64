"""The results that every callback which scores a model keeps of its last test, for the run's record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning import Callback

from run_folder.records import Score
from scoring.protocol import Protocol


class ScoreCallback(Callback):
    """Base of the callbacks that score: a test fills `results`, `protocols` and `details`.

    `results` is {test/<score>: its Score}; `protocols` is {hash: protocol}; `details` are other keys of the run's
    record, such as `classes`.
    """

    def __init__(self) -> None:
        self.results: dict[str, Score] = {}
        self.protocols: dict[str, Protocol] = {}
        self.details: dict[str, Any] = {}


@dataclass(frozen=True)
class Measured:
    """What all scores of one test have measured."""

    scores: dict[str, Score]
    protocols: dict[str, Protocol]
    details: dict[str, Any]  # other keys of a record


def gather(callbacks: Sequence[Callback]) -> Measured:
    """The results of those callbacks that score, in their order."""
    scoring = [callback for callback in callbacks if isinstance(callback, ScoreCallback)]
    return Measured(
        {name: score for callback in scoring for name, score in callback.results.items()},
        {key: protocol for callback in scoring for key, protocol in callback.protocols.items()},
        {name: detail for callback in scoring for name, detail in callback.details.items()},
    )

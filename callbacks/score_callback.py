"""What every callback that scores a model tells of its last test, for the run's record."""

from typing import Any

from lightning import Callback

from scoring.protocol import Protocol


class ScoreCallback(Callback):
    """What a test fills: `results`, `protocols` and `details`.

    `results` is {test/<score>: {value, std, floor, protocol's hash, weights}}, std and floor None where there is
    none; `protocols` is {hash: protocol}, `details` what else metrics.json is to hold.
    """

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self.protocols: dict[str, Protocol] = {}
        self.details: dict[str, Any] = {}


def gather(callbacks: list[Callback]) -> dict[str, Any]:
    """The part of a record that scores fill: `scores`, `protocols`, and details."""
    told = [callback for callback in callbacks if isinstance(callback, ScoreCallback)]
    return {
        "scores": {name: result for callback in told for name, result in callback.results.items()},
        "protocols": {key: protocol for callback in told for key, protocol in callback.protocols.items()},
        **{name: detail for callback in told for name, detail in callback.details.items()},
    }

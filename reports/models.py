"""Runs that differ in nothing but their seed are one model; what it is called, and how it differs from others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from run_folder.settings import decides_weights

from .run_folders import FINISHED, Column, Run
from .statistics import Seed

SEEDS = ("seed", "data.seed")
ABSENT = "—"


@dataclass
class Model:
    """All runs of one setting."""

    name: str
    runs: list[Run]
    settings: dict[str, Any]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == FINISHED]

    @property
    def seeds(self) -> list[Seed]:
        return sorted({_seed(run) for run in self.finished}, key=lambda seed: (isinstance(seed, str), seed))

    def values(self, column: Column) -> dict[Seed, float]:
        """A score by seed; a run that was made twice counts once, with its mean."""
        by_seed: dict[Seed, list[float]] = {}
        for run in self.finished:
            if column in run.scores:
                by_seed.setdefault(_seed(run), []).append(run.scores[column].value)
        return {seed: fmean(by_seed[seed]) for seed in self.seeds if seed in by_seed}

    @property
    def first(self) -> Run | None:
        """The finished run of the lowest seed: the one whose pictures are shown."""
        return next((run for seed in self.seeds for run in self.finished if _seed(run) == seed), None)


def _seed(run: Run) -> Seed:
    return run.name if run.seed is None else run.seed


def models_of(runs: Sequence[Run]) -> list[Model]:
    """The runs of one data set as models, in the order in which they were found."""
    groups: dict[str, Model] = {}
    for run in runs:
        settings = learning_settings(run.config)
        key = json.dumps([run.model, run.network, settings], sort_keys=True, default=str)
        groups.setdefault(key, Model(_choices(run), [], settings)).runs.append(run)
    models = list(groups.values())
    _name_apart(models)
    return models


def learning_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights, but for the seed, each setting once: a model's roles repeat its network's settings."""
    networks = [_below(f"network.{part}", config) for part in ("encoder", "decoder")]
    roles = {".".join(key.split(".")[:2]) for key in config if key.startswith("model.")}
    repeated = [role for role in roles if _below(role, config) in networks]
    return {
        key: value
        for key, value in config.items()
        if decides_weights(key) and key not in SEEDS and not any(f"{key}.".startswith(f"{role}.") for role in repeated)
    }


def _below(section: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(section): value for key, value in config.items() if f"{key}.".startswith(f"{section}.")}


def _choices(run: Run) -> str:
    if run.model is None:
        return run.name
    return f"{run.model} ({run.network})" if run.network else str(run.model)


def _name_apart(models: list[Model]) -> None:
    """Add to equal names what differs between their settings; a number where that does not tell them apart.

    Runs that failed before they had a config keep the names of their choices.
    """
    models = [model for model in models if model.settings]
    by_name: dict[str, list[Model]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    for name, alike in by_name.items():
        if len(alike) > 1:
            differing = differences([model.settings for model in alike])
            chosen = [keys[0] for keys in differing if not _is_detail(keys[0], [other[0] for other in differing])]
            short = {key: _shortened(key, chosen) for key in chosen}
            for model in alike:
                told = [f"{short[key]}={model.settings[key]}" for key in chosen if key in model.settings]
                model.name = ", ".join([name, *told])
    taken: dict[str, int] = {}
    for model in models:
        taken[model.name] = taken.get(model.name, 0) + 1
        if taken[model.name] > 1:
            model.name += f" #{taken[model.name]}"


def differences(settings: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The keys in which settings differ. Keys of one last word and the same values are told as one list."""
    told: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key, ABSENT) for one in settings]
        if any(value != values[0] for value in values):
            told.setdefault(json.dumps([key.rsplit(".", 1)[-1], *values], default=str), []).append(key)
    return list(told.values())


def _is_detail(key: str, others: list[str]) -> bool:
    """Whether a setting belongs to an object that is another choice itself, and is told by naming that."""
    return any(key.startswith(f"{other}.") for other in others)


def _shortened(key: str, others: list[str]) -> str:
    """As many of a key's last words as tell it from the others."""
    words = key.split(".")
    for count in range(1, len(words) + 1):
        tail = ".".join(words[-count:])
        if sum(other == tail or other.endswith(f".{tail}") for other in others) == 1:
            return tail
    return key

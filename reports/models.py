"""Runs that differ in nothing but their seed are one model; what it is called, and how it differs from others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from run_folder.settings import decides_weights

from .formatting import ABSENT
from .runs import FINISHED, Column, Run
from .statistics import Seed

SEEDS = ("seed", "data.seed")


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
    _make_names_unique(models)
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


def _make_names_unique(models: Sequence[Model]) -> None:
    """Add to equal names what differs between their settings; a number where they are equal after that.

    Runs that failed before they had a config keep the names of their choices.
    """
    configured = [model for model in models if model.settings]
    by_name: dict[str, list[Model]] = {}
    for model in configured:
        by_name.setdefault(model.name, []).append(model)
    for namesakes in by_name.values():
        if len(namesakes) > 1:
            _add_differences(namesakes)
    count: dict[str, int] = {}
    for model in configured:
        count[model.name] = count.get(model.name, 0) + 1
        if count[model.name] > 1:
            model.name += f" #{count[model.name]}"


def _add_differences(models: Sequence[Model]) -> None:
    """Add to the names of models the settings in which they differ."""
    keys = [same[0] for same in differences([model.settings for model in models])]
    shown = [key for key in keys if not _is_detail(key, keys)]
    short = {key: _shortened(key, shown) for key in shown}
    for model in models:
        settings = [f"{short[key]}={model.settings[key]}" for key in shown if key in model.settings]
        model.name = ", ".join([model.name, *settings])


def differences(settings: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The keys in which settings differ. Keys of one last word and the same values are in one list."""
    groups: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key, ABSENT) for one in settings]
        if any(value != values[0] for value in values):
            groups.setdefault(json.dumps([key.rsplit(".", 1)[-1], *values], default=str), []).append(key)
    return list(groups.values())


def is_trained(model: Model) -> bool:
    """Whether it is a model whose settings are known, rather than images of another program."""
    return "model" in model.settings


def _is_detail(key: str, others: list[str]) -> bool:
    """Whether a setting belongs to an object that is another of these settings itself, which says enough."""
    return any(key.startswith(f"{other}.") for other in others)


def _shortened(key: str, others: list[str]) -> str:
    """As many of a key's last words as tell it from the others."""
    words = key.split(".")
    for count in range(1, len(words) + 1):
        tail = ".".join(words[-count:])
        if sum(other == tail or other.endswith(f".{tail}") for other in others) == 1:
            return tail
    return key

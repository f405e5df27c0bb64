"""Runs that differ in nothing but their seed are one model; what it is called, and how it differs from others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from run_folder.records import NEVER_BEGUN
from run_folder.settings import decides_weights

from .flags import Flag, flags_of
from .formatting import ABSENT, of_seeds
from .runs import FINISHED, Column, Run
from .statistics import Seed

SEEDS = ("seed", "data.seed")


@dataclass(eq=False)
class Model:
    """All runs of one setting."""

    name: str
    runs: list[Run]
    settings: dict[str, Any]
    typed: dict[str, str] = field(default_factory=dict)  # setting: the choice as it was typed, where that is known

    @property
    def family(self) -> str:
        """The class of model that it is a setting of, such as GAN; its choice where the class is not known."""
        return str(self.settings.get("model") or self.runs[0].model or self.name)

    @property
    def experiments(self) -> list[str]:
        """Those that its runs came from."""
        return list(dict.fromkeys(run.experiment for run in self.runs if run.experiment))

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == FINISHED]

    @property
    def is_begun(self) -> bool:
        return any(run.status != NEVER_BEGUN for run in self.runs)

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

    def floor(self, column: Column) -> float | None:
        """What real images score."""
        scores = [run.scores[column] for run in self.finished if column in run.scores]
        return next((float(score.floor) for score in scores if score.floor is not None), None)

    @property
    def lost(self) -> dict[str, list[Seed]]:
        """The seeds that came to no end, by what became of them; a seed that was run again successfully is not lost."""
        ended: dict[Seed, str] = {_seed(run): run.status for run in self.runs}
        by_status: dict[str, list[Seed]] = {}
        for seed, status in ended.items():
            if seed not in self.seeds:
                by_status.setdefault(status, []).append(seed)
        return by_status

    @cached_property
    def flags(self) -> dict[str, list[tuple[Seed, Flag]]]:
        """What is suspicious about finished runs, by its kind."""
        by_kind: dict[str, list[tuple[Seed, Flag]]] = {}
        for run in self.finished:
            for flag in flags_of(run):
                by_kind.setdefault(flag.kind, []).append((_seed(run), flag))
        return by_kind

    @property
    def collapsed(self) -> list[Seed]:
        return list(dict.fromkeys(seed for flags in self.flags.values() for seed, flag in flags if flag.is_collapse))

    def outcome(self, column: Column | None = None) -> str:
        """How many seeds there are, how many of them have the score, and what became of the others."""
        lost = {status: len(seeds) for status, seeds in self.lost.items()}
        total = len(self.seeds) + sum(lost.values())
        counted = len(self.values(column)) if column else len(self.seeds)
        if unscored := len(self.seeds) - counted:
            lost["without this score"] = unscored
        if self.collapsed:
            lost["collapsed"] = len(self.collapsed)
        return of_seeds(counted, total, lost)

    def counts_all(self, column: Column) -> bool:
        """Whether every seed that was begun is in the score's mean, none of them lost."""
        return not self.lost and len(self.values(column)) == len(self.seeds)

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
        groups.setdefault(key, Model(_choices(run), [], settings, run.typed)).runs.append(run)
    models = list(groups.values())
    _make_names_unique(models)
    return models


def learning_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights, but for the seed, each setting once: a model's roles repeat its network's settings."""
    networks = [_below(f"network.{part}", config) for part in ("encoder", "decoder")]
    roles = {".".join(key.split(".")[:2]) for key in config if key.startswith("model.")}
    repeated = [role for role in roles if _below(role, config) in networks]
    if config.get("model.parameters") == config.get("network.parameters"):
        repeated.append("model.parameters")
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
    for namesakes in _by_name(configured):
        if any(model.experiments != namesakes[0].experiments for model in namesakes):
            _add_experiments(namesakes)
    for namesakes in _by_name(configured):
        _add_differences(namesakes, [named_settings(model, namesakes) for model in namesakes])
    count: dict[str, int] = {}
    for model in configured:
        count[model.name] = count.get(model.name, 0) + 1
        if count[model.name] > 1:
            model.name += f" #{count[model.name]}"


def _add_experiments(models: Sequence[Model]) -> None:
    """Add to the names of models the experiments that they came from."""
    for model in models:
        if model.experiments:
            model.name += f" of {' and '.join(model.experiments)}"


def _by_name(models: Sequence[Model]) -> list[list[Model]]:
    """Those that share their name with others, each group of them."""
    by_name: dict[str, list[Model]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    return [namesakes for namesakes in by_name.values() if len(namesakes) > 1]


def named_settings(model: Model, namesakes: Sequence[Model]) -> dict[str, Any]:
    """A model's settings, each part as its choice was typed (`gaussian_learned`) where that is known of all."""
    known = [key for key in model.settings if all(key in other.typed for other in namesakes if key in other.settings)]
    return model.settings | {key: model.typed[key] for key in known}


def _add_differences(models: Sequence[Model], settings: Sequence[Mapping[str, Any]]) -> None:
    """Add to the names of models the settings in which they differ."""
    keys = [same[0] for same in differences(settings)]
    shown = [key for key in keys if not is_detail(key, keys)]
    short = {key: shortened(key, shown) for key in shown}
    for model, named in zip(models, settings, strict=True):
        model.name = ", ".join([model.name, *(f"{short[key]}={named[key]}" for key in shown if key in named)])
    for namesakes in _by_name(models):  # of the same parts, which differ in their details
        chosen = [named for model, named in zip(models, settings, strict=True) if model in namesakes]
        if len(namesakes) < len(models):
            _add_differences(namesakes, chosen)


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


def is_detail(key: str, others: list[str]) -> bool:
    """Whether a setting belongs to an object that is another of these settings itself, which says enough."""
    return any(key.startswith(f"{other}.") for other in others)


def shortened(key: str, others: list[str]) -> str:
    """As many of a key's last words as tell it from the others."""
    words = key.split(".")
    for count in range(1, len(words) + 1):
        tail = ".".join(words[-count:])
        if sum(other == tail or other.endswith(f".{tail}") for other in others) == 1:
            return tail
    return key

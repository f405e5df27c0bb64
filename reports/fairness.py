"""What the models that a headline compares had in common besides the data, and what not."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from .formatting import count, listed, number
from .models import Model
from .runs import Column

CLOSE = 0.1  # times within a tenth of each other are equal
UNKNOWN = "unknown"


class Fact(NamedTuple):
    """Something that could differ between two models: how each of them has it."""

    name: str
    values: tuple[str, str]
    is_equal: bool

    @property
    def is_known(self) -> bool:
        return UNKNOWN not in self.values


def held_equal(first: Model, second: Model, models: Sequence[Model], column: Column) -> str:
    """A sentence each on what was held equal, what was not, and what is unknown."""
    facts = facts_of(first, second, models, column)
    known = [fact for fact in facts if fact.is_known]
    equal = [f"{fact.name} ({' and '.join(dict.fromkeys(fact.values))})" for fact in known if fact.is_equal]
    unequal = [f"{fact.name} ({' against '.join(fact.values)})" for fact in known if not fact.is_equal]
    unknown = [fact.name for fact in facts if not fact.is_known]
    sentences = (("Held equal", equal), ("Not equal", unequal), ("Not known", unknown))
    return " ".join(f"{title}: {listed(names)}." for title, names in sentences if names)


def facts_of(first: Model, second: Model, models: Sequence[Model], column: Column) -> list[Fact]:
    both = (first, second)
    return [
        _cost("images seen", both, "images_seen", count),
        _cost("parameters", both, "parameters", count),
        _cost("seconds of training", both, "seconds", number, CLOSE),
        _words("weights scored", both, lambda model: weights_of(model, column)),
        _words("latents drawn from", both, lambda model: latents_of(model, column)),
        _settings_tried(both, models),
        _trials(both),
    ]


def weights_of(model: Model, column: Column) -> str:
    """Which weights a score is of, such as `averaged (EMA)`."""
    return _common(run.scores[column].weights for run in model.finished if column in run.scores)


def latents_of(model: Model, column: Column) -> str:
    """What latents were drawn from: the prior, or a density's name."""
    return _common(run.scores[column].latents for run in model.finished if column in run.scores)


def _common(values: Iterable[str | None]) -> str:
    distinct = sorted({value or UNKNOWN for value in values})
    return " and ".join(distinct) or UNKNOWN


def _words(name: str, both: tuple[Model, Model], of: Callable[[Model], str]) -> Fact:
    first, second = map(of, both)
    return Fact(name, (first, second), first == second)


def _cost(
    name: str, both: tuple[Model, Model], cost: str, written: Callable[[float], str], tolerance: float = 0.0
) -> Fact:
    means = [_mean([run.costs[cost] for run in model.finished if cost in run.costs]) for model in both]
    first, second = means
    if first is None or second is None:
        return Fact(name, (UNKNOWN, UNKNOWN), False)
    is_equal = abs(first - second) <= tolerance * max(first, second)
    return Fact(name, (written(first), written(second)), is_equal)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _settings_tried(both: tuple[Model, Model], models: Sequence[Model]) -> Fact:
    """How many settings of each model's family are in this report, whatever came of them."""
    tried = [sum(model.family == one.family and bool(model.settings) for model in models) for one in both]
    first, second = (str(number) if number else UNKNOWN for number in tried)
    return Fact("settings tried of each family, in this report", (first, second), first == second)


def _trials(both: tuple[Model, Model]) -> Fact:
    """How many settings were tried before the report, on val, and by what search."""
    first, second = (trials_of(model) for model in both)
    values = (tried(both[0]), tried(both[1]))
    return Fact("settings tried on val for each recipe", values, first == second)


def trials_of(model: Model) -> list[int] | None:
    """How many settings its recipe was chosen from; None where a run doesn't say. One number, unless runs disagree."""
    stated = {run.trials for run in model.runs if run.config}
    known = sorted(trials for trials in stated if trials is not None)
    return known if known and len(known) == len(stated) else None


def tried(model: Model) -> str:
    """The same in words, with what tried them: `30 by search/mnist`."""
    trials, searches = trials_of(model), searches_of(model)
    if trials is None:
        return UNKNOWN
    return " by ".join(filter(None, [listed(list(map(str, trials))), listed(searches)]))


def searches_of(model: Model) -> list[str]:
    """What its recipe was found by; empty where nothing is stated."""
    return list(dict.fromkeys(run.search for run in model.runs if run.search))

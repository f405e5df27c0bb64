"""The sentences above a data set's tables: who won, by how much, and how sure that is."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from .comparison import Contender
from .formatting import over_seeds, p_value, size_of_difference
from .models import Model
from .ranking import direction, short_name
from .runs import Column
from .statistics import Comparison, summarize

NOTHING = "No run on {data} has {missing}: nothing to compare."
ALONE = "{first} on {data}: {score} {value}. No other model has this score.{not_compared}"
COMPARED = (
    "{first} {wins} {second} on {data}: {score} {value} against {other_value}, {better} is better. "
    "{certainty}{not_compared}"
)
TOO_FEW_SEEDS = "{which}: no statement on noise is possible."
TESTED = "The difference of {difference} {verdict}{test}.{nearest}"
TEST = " ({name}, p {p}, Cohen's d {kind} = {effect:.2g})"
NEAREST = " It is the nearest of {count} other models; p is corrected for all tests (Holm)."
NOT_COMPARED = " Not compared, for want of this score under protocol {protocol}: {names}."


class Headline(NamedTuple):
    text: str
    certainty: str  # "sure", "unsure" or "unknown"


def headline_of(data: str, models: Sequence[Model], column: Column | None, contenders: Sequence[Contender]) -> Headline:
    """The headline on a data set whose models are sorted by the column, the best first."""
    if column is None:
        ended = any(model.finished for model in models)
        return Headline(NOTHING.format(data=data, missing="a score" if ended else "finished"), "unknown")
    first = models[0]
    parts = {
        "first": first.name,
        "data": data,
        "score": short_name(column.score),
        "value": _value(first, column),
        "not_compared": _not_compared(models, column),
    }
    if not contenders:
        return Headline(ALONE.format(**parts), "unknown")
    second = contenders[0]
    text = COMPARED.format(
        wins="beats" if second.significance.is_significant else "leads",
        second=second.model.name,
        other_value=_value(second.model, column),
        better="smaller" if direction(column.score) < 0 else "larger",
        certainty=_certainty(second, count=len(contenders)),
        **parts,
    )
    if second.comparison.test is None:
        return Headline(text, "unknown")
    return Headline(text, "sure" if second.significance.is_significant else "unsure")


def _value(model: Model, column: Column) -> str:
    return over_seeds(summarize(list(model.values(column).values())))


def _not_compared(models: Sequence[Model], column: Column) -> str:
    names = [model.name for model in models if model.finished and not model.values(column)]
    return NOT_COMPARED.format(protocol=column.protocol, names=", ".join(names)) if names else ""


def _certainty(second: Contender, count: int) -> str:
    """How sure it is that the best model differs from the second of `count` contenders."""
    comparison = second.comparison
    if comparison.test is None:
        return TOO_FEW_SEEDS.format(which="One seed each" if comparison.n == (1, 1) else "One seed of one of them")
    return TESTED.format(
        difference=size_of_difference(comparison),
        verdict=second.significance.verdict,
        test=_test(comparison, second.corrected_p),
        nearest=NEAREST.format(count=count) if count > 1 else "",
    )


def _test(comparison: Comparison, p: float) -> str:
    if not isfinite(p):
        return ""
    p_text = p_value(p) if p < 1e-4 else f"= {p_value(p)}"
    return TEST.format(name=comparison.test, p=p_text, kind=comparison.effect_kind, effect=abs(comparison.effect))

"""The sentences above a data set's tables: who won, by how much, how sure that is, and what was held equal."""

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from .comparison import Contender
from .extractors import accuracy_of
from .fairness import held_equal, weights_of
from .flags import TOO_SHORT
from .formatting import p_value, percent, plus_minus, size_of_difference
from .models import Model
from .ranking import direction, short_name, summary_over_seeds
from .runs import Column
from .statistics import Comparison

NOTHING = "No run on {data} has {missing}: nothing to compare."
ALONE = "{first} on {data}: {score} {value}. No other model has this score.{not_compared}"
COMPARED = (
    "{first} {wins} {second} on {data}: {score} {value} against {other_value}, {better} is better. "
    "{certainty}{survivors}{not_compared}"
)
TOO_FEW_SEEDS = "{which}: no statement on noise is possible."
TESTED = "The difference of {difference} {verdict}{test}.{nearest}"
TEST = " ({name} over seeds, p {p}; {share} of all pairs of seeds agree)"
NEAREST = " It is the nearest of {count} other models; p is corrected for the best having been picked out of {total}."
SURVIVORS = " This is over surviving seeds only, for {names} lost some: a lead, no more."
COLLAPSED = " Collapsed seeds count in the means."
SHORT = " Too short to judge: {names}. What a longer training would have led to is not known."
NOT_COMPARED = " Not compared, for want of this score under protocol {protocol}: {names}."


class Headline(NamedTuple):
    text: str
    certainty: str  # "sure", "unsure", "unknown", or "survivors": sure, were it not for the seeds that were lost
    fairness: str = ""  # what was held equal, and what was not


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
        weights = f"Weights scored: {weights_of(first, column)}.{_measured_by(first, column)}"
        return Headline(ALONE.format(**parts), "unknown", weights)
    second = contenders[0]
    text = COMPARED.format(
        wins=verb(first, second, column),
        second=second.model.name,
        other_value=_value(second.model, column),
        better="smaller" if direction(column.score) < 0 else "larger",
        certainty=_certainty(second, count=len(contenders)),
        survivors=_survivors([first, second.model], column),
        **parts,
    )
    fairness = held_equal(first, second.model, models, column) + _measured_by(first, column)
    return Headline(text, certainty_of(first, second, column), fairness)


def verb(first: Model, second: Contender, column: Column) -> str:
    """`beats` is said only of a difference that is more than noise, over every seed that was begun."""
    if second.is_equal:
        return "equals"
    return "beats" if certainty_of(first, second, column) == "sure" else "leads"


def certainty_of(first: Model, second: Contender, column: Column) -> str:
    if second.comparison.test is None or second.is_equal:
        return "unknown"
    if not second.significance.is_significant:
        return "unsure"
    all_counted = first.counts_all(column) and second.model.counts_all(column)
    return "sure" if all_counted else "survivors"


def _value(model: Model, column: Column) -> str:
    return f"{plus_minus(summary_over_seeds(model, column))} ({model.outcome(column)})"


def _not_compared(models: Sequence[Model], column: Column) -> str:
    """Models without the score, also those of which no run finished; not those of which none was begun."""
    missing = [model for model in models if model.is_begun and not model.values(column)]
    names = [model.name if model.finished else f"{model.name} ({model.outcome(column)})" for model in missing]
    return NOT_COMPARED.format(protocol=column.protocol, names=", ".join(names)) if names else ""


def _survivors(both: Sequence[Model], column: Column) -> str:
    names = [model.name for model in both if not model.counts_all(column)]
    lost = SURVIVORS.format(names=" and ".join(names)) if names else ""
    short = [model.name for model in both if TOO_SHORT in model.flags]
    return (
        lost
        + (COLLAPSED if any(model.collapsed for model in both) else "")
        + (SHORT.format(names=" and ".join(short)) if short else "")
    )


def _certainty(second: Contender, count: int) -> str:
    """How sure it is that the best model differs from the second of `count` contenders."""
    comparison = second.comparison
    if comparison.test is None:
        return TOO_FEW_SEEDS.format(which="One seed each" if comparison.n == (1, 1) else "One seed of one of them")
    if second.is_equal:
        return "There is no difference."
    return TESTED.format(
        difference=size_of_difference(comparison),
        verdict=second.significance.verdict,
        test=_test(comparison, second.corrected_p),
        nearest=NEAREST.format(count=count, total=count + 1) if count > 1 else "",
    )


def _test(comparison: Comparison, p: float) -> str:
    if not isfinite(p):
        return ""
    p_text = p_value(p) if p < 1e-4 else f"= {p_value(p)}"
    share = comparison.larger if comparison.difference > 0 else 1 - comparison.larger
    return TEST.format(name=comparison.test, p=p_text, share=percent(share))


def _measured_by(model: Model, column: Column) -> str:
    """How well the extractor reads the real test images, where that is little or unknown."""
    accuracy = accuracy_of([model], column)
    return f" {short_name(column.score)} is by an {accuracy}." if accuracy else ""

"""Which scores are better larger or smaller, what they can be, and the order of models by one of them."""

from collections.abc import Sequence
from math import inf
from statistics import fmean
from typing import NamedTuple

from run_folder.judgements import LOW_RECALL

from .models import Model
from .runs import Column
from .statistics import ANY_NUMBER, Bounds, Summary, summarize

PREFERRED = "test/fid_reference"  # to go by, where as many models have it as any other score
SIMILAR_TO_REAL = ("precision", "density")  # all but useless as praise where recall is near zero


class Kind(NamedTuple):
    """What is known of a score."""

    direction: int  # -1: smaller is better, 1: larger is, 0: neither
    bounds: Bounds


SHARE, AMOUNT = (0.0, 1.0), (0.0, inf)
KINDS = {  # by the name's beginning, the longest that fits; of others nothing is known
    "fid": Kind(-1, AMOUNT),
    "kid": Kind(-1, ANY_NUMBER),  # unbiased, and so below 0 at times
    "kid_subset_std": Kind(0, AMOUNT),
    "precision": Kind(1, SHARE),
    "recall": Kind(1, SHARE),
    "density": Kind(1, AMOUNT),
    "coverage": Kind(1, SHARE),
    "missing_modes": Kind(-1, SHARE),
    "confidence": Kind(0, SHARE),  # of real images below 1: more of it is not better
    "accuracy": Kind(1, SHARE),
    "nearest_train": Kind(0, AMOUNT),
    "active": Kind(0, AMOUNT),
    "nll": Kind(-1, ANY_NUMBER),
    "bits_per_dim": Kind(-1, AMOUNT),
}


def short_name(score: str) -> str:
    """A score's name without the split, which is the test split in every table."""
    return score.removeprefix("test/")


def kind_of(score: str) -> Kind:
    known = [beginning for beginning in KINDS if short_name(score).startswith(beginning)]
    return KINDS[max(known, key=len)] if known else Kind(0, ANY_NUMBER)


def direction(score: str) -> int:
    """-1 where smaller is better, 1 where larger is, 0 where neither."""
    return kind_of(score).direction


def arrow(score: str) -> str:
    """The direction in which a score is better, to follow its name."""
    return {-1: " ↓", 1: " ↑", 0: ""}[direction(score)]


def summary_over_seeds(model: Model, column: Column) -> Summary:
    """Of a score that the model has, over its seeds."""
    return summarize(list(model.values(column).values()), kind_of(column.score).bounds)


def deciding_column(columns: Sequence[Column], models: Sequence[Model]) -> Column | None:
    """The score that decides, under the protocol in which most models and runs have it."""

    def prevalence(column: Column) -> tuple[int, bool, int]:
        counts = [len(model.values(column)) for model in models]
        return sum(map(bool, counts)), column.score == PREFERRED, sum(counts)

    return max((column for column in columns if direction(column.score)), key=prevalence, default=None)


def rank(model: Model, column: Column) -> tuple[bool, float]:
    """A key that sorts the best model first, and those without this score last."""
    values = model.values(column)
    return not values, -direction(column.score) * fmean(values.values()) if values else 0.0


def best_of(models: Sequence[Model], column: Column) -> list[Model]:
    """The models to crown in a column: the best, all of them if they are equal; none if nothing was compared.

    A precision or density whose recall is below a tenth of the floor's is passed over, as is the worst that a score
    can be, such as the recall of 0 of untrained models.
    """
    scored = [model for model in models if model.values(column)]
    if len(scored) < 2 or not direction(column.score):
        return []
    best = min(rank(model, column) for model in scored)
    if best[1] == -direction(column.score) * worst_of(column.score):
        return []
    return [model for model in scored if rank(model, column) == best and not hardly_varied(model, column)]


def worst_of(score: str) -> float:
    """The bound of what a score can be at its worse end; infinite where there is none."""
    low, high = kind_of(score).bounds
    return low if direction(score) > 0 else high


def hardly_varied(model: Model, column: Column) -> bool:
    """Whether a column's precision or density says little, for the recall beside it is below a tenth of the floor's."""
    name = next((name for name in SIMILAR_TO_REAL if short_name(column.score).startswith(name)), None)
    if name is None:
        return False
    recall = Column(column.score.replace(name, "recall", 1), column.protocol)
    values, floor = model.values(recall), model.floor(recall)
    return bool(values) and floor is not None and fmean(values.values()) < LOW_RECALL * floor

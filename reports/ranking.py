"""Which scores are better larger or smaller, and the order of models by one of them."""

from collections.abc import Sequence
from statistics import fmean

from .models import Model
from .runs import Column

PREFERRED = "test/fid_reference"  # to go by, where as many models have it as any other score
SMALLER_IS_BETTER = ("fid", "kid", "nll", "bits_per_dim", "missing_modes")
LARGER_IS_BETTER = ("precision", "recall", "density", "coverage", "confidence", "accuracy")
SPREAD = "kid_subset_std"  # of KID's subsets: neither better nor worse


def short_name(score: str) -> str:
    """A score's name without the split, which is the test split in every table."""
    return score.removeprefix("test/")


def direction(score: str) -> int:
    """-1 where smaller is better, 1 where larger is, 0 where neither."""
    name = short_name(score)
    if name.startswith(SPREAD):
        return 0
    return -1 if name.startswith(SMALLER_IS_BETTER) else int(name.startswith(LARGER_IS_BETTER))


def arrow(score: str) -> str:
    """The direction in which a score is better, to follow its name."""
    return {-1: " ↓", 1: " ↑", 0: ""}[direction(score)]


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

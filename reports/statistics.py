"""Means over training seeds, and whether two of them differ by more than noise."""

from collections.abc import Mapping, Sequence
from enum import Enum
from math import isfinite, nan, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 0.05

Seed = int | str


class Summary(NamedTuple):
    """Values over seeds; spread and interval are None of a single one."""

    n: int
    mean: float
    std: float | None
    low: float | None  # of the 95 % interval of the mean, by Student's t
    high: float | None


class Comparison(NamedTuple):
    """Of a's values with b's: difference = mean of a − mean of b, over the seeds that the test used."""

    test: str | None  # None: too few seeds for one
    n: tuple[int, int]
    difference: float
    low: float
    high: float
    p: float  # two-sided; nan where there is no spread to hold the difference against
    effect: float  # Cohen's d
    effect_kind: str  # what Cohen's d is of


def summarize(values: Sequence[float]) -> Summary:
    n, mean = len(values), fmean(values)
    if n < 2:
        return Summary(n, mean, None, None, None)
    std = stdev(values)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / sqrt(n)
    return Summary(n, mean, std, mean - reach, mean + reach)


def compare(a: Mapping[Seed, float], b: Mapping[Seed, float]) -> Comparison:
    """Paired over seeds where both have the same, else Welch's test; from two seeds each."""
    if len(a) >= 2 and a.keys() == b.keys():
        return _paired(list(a.values()), [b[seed] for seed in a])
    if min(len(a), len(b)) >= 2:
        return _welch(list(a.values()), list(b.values()))
    return Comparison(None, (len(a), len(b)), fmean(a.values()) - fmean(b.values()), nan, nan, nan, nan, "")


def _paired(a: list[float], b: list[float]) -> Comparison:
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, spread = fmean(differences), stdev(differences)
    tested = ("paired t-test over seeds", (len(a), len(b)), mean)
    if _is_negligible(spread, a + b):
        return Comparison(*tested, mean, mean, nan, nan, "")
    result = stats.ttest_rel(a, b)
    low, high = result.confidence_interval(CONFIDENCE)
    return Comparison(*tested, float(low), float(high), float(result.pvalue), mean / spread, "of the pairs")


def _welch(a: list[float], b: list[float]) -> Comparison:
    mean = fmean(a) - fmean(b)
    pooled = sqrt(((len(a) - 1) * stdev(a) ** 2 + (len(b) - 1) * stdev(b) ** 2) / (len(a) + len(b) - 2))
    tested = ("Welch's t-test", (len(a), len(b)), mean)
    if _is_negligible(pooled, a + b):
        return Comparison(*tested, mean, mean, nan, nan, "")
    result = stats.ttest_ind(a, b, equal_var=False)
    low, high = result.confidence_interval(CONFIDENCE)
    return Comparison(*tested, float(low), float(high), float(result.pvalue), mean / pooled, "by the pooled spread")


def _is_negligible(spread: float, values: list[float]) -> bool:
    return spread <= 1e-12 * max(map(abs, values), default=0.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for several tests: the k-th smallest p times (m − k + 1), never falling, at most 1.

    A test without a p value (nan) stays so, and is not counted.
    """
    corrected, highest = list(p_values), 0.0
    order = sorted((index for index, p in enumerate(p_values) if isfinite(p)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


class Significance(Enum):
    """What a p value says of a difference; the value is the end of a sentence whose subject is the difference."""

    TOO_FEW_SEEDS = "can't be told from noise: that takes two seeds of each"
    NO_SPREAD = "is the same at every seed, which leaves nothing to test it against"
    STRONG = "is far more than noise"
    SIGNIFICANT = "is more than noise"
    NOT_SIGNIFICANT = "may well be noise"

    @property
    def verdict(self) -> str:
        return self.value

    @property
    def is_significant(self) -> bool:
        return self in (Significance.STRONG, Significance.SIGNIFICANT)


def significance_of(p: float, comparison: Comparison) -> Significance:
    if comparison.test is None:
        return Significance.TOO_FEW_SEEDS
    if not isfinite(p):
        return Significance.NO_SPREAD
    if p < SIGNIFICANT / 50:
        return Significance.STRONG
    return Significance.SIGNIFICANT if p < SIGNIFICANT else Significance.NOT_SIGNIFICANT

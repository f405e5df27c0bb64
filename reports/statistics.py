"""Means over training seeds, and whether the best of several models differs from the others by more than noise."""

from collections.abc import Mapping, Sequence
from enum import Enum
from math import exp, expm1, inf, isfinite, log, log1p, nan, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANT = 0.05
FEWEST_FOR_INTERVAL = 3  # two values are certain within thirteen times their standard error, which says nothing

Seed = int | str
Bounds = tuple[float, float]  # of what a score can be
ANY_NUMBER: Bounds = (-inf, inf)


class Summary(NamedTuple):
    """Values over seeds; the spread is None of a single one, the interval of fewer than three."""

    n: int
    mean: float
    std: float | None
    low: float | None  # of the 95 % interval of the mean, inside the score's bounds
    high: float | None


class Comparison(NamedTuple):
    """Of a's values with b's: difference = mean of a − mean of b."""

    test: str | None  # None: too few seeds for one
    n: tuple[int, int]
    difference: float
    low: float
    high: float
    p: float  # two-sided; nan where there is no spread to hold the difference against
    larger: float  # probability that a seed of a is larger than one of b, half of it for equals


def summarize(values: Sequence[float], bounds: Bounds = ANY_NUMBER) -> Summary:
    """Mean, standard deviation, and the mean's 95 % interval on the scale that the score's bounds ask for.

    By Student's t: of the mean itself without bounds, of its logarithm above a lower one, of its logit between two
    (delta method: the standard error times the scale's slope at the mean). So no interval leaves the bounds. A
    bootstrap of three to five seeds would be far too narrow: it never looks beyond the values that it has.
    """
    n, mean = len(values), fmean(values)
    if n < 2:
        return Summary(n, mean, None, None, None)
    std = stdev(values)
    if n < FEWEST_FOR_INTERVAL:
        return Summary(n, mean, std, None, None)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / sqrt(n)
    return Summary(n, mean, std, *_interval(mean, reach, bounds))


def _interval(mean: float, reach: float, bounds: Bounds) -> tuple[float, float]:
    low, high = bounds
    above, below = mean - low, high - mean
    if not isfinite(low) or min(above, below) <= 0 or reach == 0:
        return max(mean - reach, low), min(mean + reach, high)
    if not isfinite(high):
        factor = exp(min(reach / above, 700))
        return low + above / factor, low + above * factor
    logit, width = log(above / below), reach * (high - low) / (above * below)
    return tuple(low + (high - low) * float(stats.logistic.cdf(logit + side * width)) for side in (-1, 1))  # type: ignore[return-value]


def compare(a: Mapping[Seed, float], b: Mapping[Seed, float]) -> Comparison:
    """Welch's t-test, from two seeds each.

    Runs of one seed are no pair: a VAE and a GAN share the number, and nothing that is drawn by it.
    `larger` is rliable's probability of improvement (Agarwal et al. 2021, arXiv:2108.13264): Mann and Whitney's U.
    There is no effect size by a spread: that of three to five seeds is too uncertain to divide by.
    """
    x, y = list(a.values()), list(b.values())
    tested = (len(x), len(y)), fmean(x) - fmean(y)
    larger = float(stats.mannwhitneyu(x, y).statistic) / (len(x) * len(y))
    if min(len(x), len(y)) < 2:
        return Comparison(None, *tested, nan, nan, nan, larger)
    if max(stdev(x), stdev(y)) <= 1e-12 * max(map(abs, x + y)):
        return Comparison("Welch's t-test", *tested, tested[1], tested[1], nan, larger)
    result = stats.ttest_ind(x, y, equal_var=False)
    low, high = result.confidence_interval(CONFIDENCE)
    return Comparison("Welch's t-test", *tested, float(low), float(high), float(result.pvalue), larger)


def corrected_for_picking(p: float, num_models: int) -> float:
    """The p value of one pair, given that any pair of so many models could have been the one that was looked at.

    1 − (1 − p)^pairs, by Šidák, over all k(k − 1)/2 pairs: the best was picked by the very values that are
    tested, so each pair could have been "the best and another", and the farthest two always are. Simulated with
    equal models of five normal values, some difference is found "more than noise" in 0.043, 0.026 and 0.011 of cases
    for 2, 5 and 36 models. Games–Howell's studentized range is sharper in theory, and too sharp for five seeds (0.09
    for 36 models); Tukey's needs equal spreads (0.13 for 5 models whose spreads differ tenfold, 0.027 here).
    """
    pairs = num_models * (num_models - 1) / 2
    return p if not isfinite(p) or p >= 1 else -expm1(pairs * log1p(-p))


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

"""Means, intervals and tests over seeds: textbook values, and how often equal models are found to differ."""

import math
from statistics import fmean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from reports.comparison import contenders
from reports.runs import Column
from reports.statistics import Significance, compare, corrected_for_picking, significance_of, summarize


def test_summary_is_that_of_the_textbook():
    # NIST/SEMATECH e-Handbook, 1.3.5.2: N = 195, mean 9.261460, s = 0.022789: 95 % interval (9.258242, 9.264679)
    values = np.array([-1.0, 1.0] * 97 + [0.0])
    values = 9.261460 + values * 0.022789 / values.std(ddof=1)
    summary = summarize(values.tolist())
    assert (summary.low, summary.high) == pytest.approx((9.258242, 9.264679), abs=2e-6)
    assert summarize([2.0]) == (1, 2.0, None, None, None)
    assert summarize([2.0, 4.0]) == (2, 3.0, pytest.approx(math.sqrt(2)), None, None)  # too few for an interval


def test_welchs_test_is_that_of_the_textbook_and_makes_no_pairs_of_seeds():
    # Student 1908, hours of sleep gained with two drugs by ten patients, as R's t.test(extra ~ group) has them:
    # t = −1.8608, df = 17.776, p = 0.07939, (−3.3654832, 0.2054832); paired, which seeds are not, p is 0.002833
    first = dict(enumerate([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]))
    second = dict(enumerate([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]))
    welch = compare(first, second)
    assert welch == compare(first, {seed + 100: value for seed, value in second.items()})
    assert welch.test == "Welch's t-test"
    assert (welch.p, welch.low, welch.high) == pytest.approx((0.07939, -3.3654832, 0.2054832), abs=1e-5)
    pairs = [(x > y) + (x == y) / 2 for x in first.values() for y in second.values()]
    assert welch.larger == pytest.approx(fmean(pairs))


def test_a_test_takes_two_seeds_of_each():
    a = {0: 1.0, 1: 2.0, 2: 4.0}
    fewer = compare(a, {0: 2.0, 1: 3.5})
    assert fewer.test == "Welch's t-test" and fewer.difference == pytest.approx(7 / 3 - 2.75)  # no seed is left out
    assert compare(a, {0: 2.0}).test is None and math.isnan(compare(a, {0: 2.0}).p)
    same = compare({0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0})
    assert same.difference == -1 and math.isnan(same.p)


@pytest.mark.parametrize("num_models", [2, 5, 36])
@pytest.mark.parametrize("spread", ["equal", "tenfold", "skewed"])
def test_of_equal_models_none_is_found_better_in_more_than_a_twentieth_of_cases(num_models: int, spread: str):
    # 2,000 sweeps of five seeds, in which any model may be called worse than the best. Tolerance: two standard errors
    # of a share of 0.05, 0.0097. Uncorrected t-tests against the best say so in more than half of them for 36 models.
    draws = np.random.default_rng(0)
    found, trials = 0, 2000
    scale = np.geomspace(0.1, 1, num_models)[:, None] if spread == "tenfold" else 1.0
    for _ in range(trials):
        noise = scale * draws.normal(size=(num_models, 5))
        values = np.exp(noise / 2) if spread == "skewed" else 10 + noise
        found += any_is_found_worse(values)
    assert found / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def any_is_found_worse(values: np.ndarray) -> bool:
    """What the report does, (models, seeds), for all models at once, as 70,000 tests one by one take a minute."""
    best, *others = values[values.mean(axis=1).argsort()]
    p = stats.ttest_ind(np.array(others), best[None], axis=1, equal_var=False).pvalue
    return corrected_for_picking(float(p.min()), len(values)) < 0.05


def test_contenders_are_corrected_like_that():
    draws = np.random.default_rng(3)
    for num_models in (2, 5, 36):
        values = 10 + draws.normal(size=(num_models, 5))
        models = [SimpleNamespace(values=lambda column, row=row: dict(enumerate(row.tolist()))) for row in values]
        models.sort(key=lambda model: fmean(model.values(None).values()))
        found = contenders(models, Column("test/fid_reference", "aaaa1111"))
        assert len(found) == num_models - 1
        assert any(one.significance.is_significant for one in found) == any_is_found_worse(values)
        p = [compare(model.values(None), models[0].values(None)).p for model in models[1:]]
        expected = [1 - (1 - one) ** (num_models * (num_models - 1) / 2) for one in p]
        assert [one.corrected_p for one in found] == pytest.approx(expected)


@pytest.mark.parametrize(("num_models", "distance"), [(2, 3), (5, 5), (36, 9)])
def test_a_large_difference_is_found_with_five_seeds(num_models: int, distance: float):
    # The best is better than all others by so many standard deviations: found in at least 0.8 of 300 sweeps.
    draws = np.random.default_rng(1)
    values = 10 + draws.normal(size=(300, num_models, 5))
    values[:, 0] -= distance
    p = stats.ttest_ind(values[:, 1:], values[:, :1], axis=2, equal_var=False).pvalue
    nearest = np.take_along_axis(p, values[:, 1:].mean(axis=2).argmin(axis=1)[:, None], axis=1)[:, 0]
    assert np.mean([corrected_for_picking(float(one), num_models) < 0.05 for one in nearest]) >= 0.8


def test_picking_is_corrected_for_every_pair_that_could_have_been_looked_at():
    assert corrected_for_picking(0.03, 2) == pytest.approx(0.03)  # two models: nothing to pick
    assert corrected_for_picking(0.01, 5) == pytest.approx(1 - 0.99**10)  # Šidák 1967, ten pairs
    assert corrected_for_picking(1e-18, 36) == pytest.approx(630e-18) and corrected_for_picking(1.0, 36) == 1
    assert math.isnan(corrected_for_picking(math.nan, 3))


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        # By Student's t of the values themselves: [−8.7, 21.5] and [−0.39, 1.20]. Here m·exp(±r/m), and the logit's.
        ([2.0, 4.0, 13.2], (0, math.inf), None),
        ([0.05, 0.5, 0.665], (0, 1), None),
        ([0.0, 0.0, 0.0], (0, 1), (0.0, 0.0)),
        ([1.0, 1.0, 1.0], (0, 1), (1.0, 1.0)),
        ([0.0, 0.0, 0.003], (0, 1), None),
    ],
)
def test_intervals_stay_inside_what_a_score_can_be(values, bounds, expected):
    summary = summarize(values, bounds)
    assert bounds[0] <= summary.low <= summary.mean <= summary.high <= bounds[1]
    if expected:
        assert (summary.low, summary.high) == expected
        return
    reach = 4.302652729911275 * stdev(values) / math.sqrt(3)
    mean = fmean(values)
    if bounds[1] == math.inf:
        assert (summary.low, summary.high) == pytest.approx(
            (mean * math.exp(-reach / mean), mean * math.exp(reach / mean))
        )
    else:
        width = reach / (mean * (1 - mean))
        odds = mean / (1 - mean)
        low, high = (odds * math.exp(side * width) for side in (-1, 1))
        assert (summary.low, summary.high) == pytest.approx((low / (1 + low), high / (1 + high)))


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_intervals_on_the_log_scale_hold_the_mean_in_nineteen_of_twenty_cases(spread: float):
    # 4,000 sets of five lognormal values: at least 0.92, for their mean is that of a skewed distribution.
    draws = np.exp(spread * np.random.default_rng(2).normal(size=(4000, 5)))
    truth = math.exp(spread**2 / 2)
    held = [low <= truth <= high for *_, low, high in (summarize(row.tolist(), (0, math.inf)) for row in draws)]
    assert 0.92 <= np.mean(held) <= 0.97


def test_significance_goes_by_five_percent_and_a_fiftieth_of_it():
    tested = compare({0: 1.0, 1: 2.0}, {0: 0.0, 1: 3.0})
    by_p = {p: significance_of(p, tested) for p in (0.0009, 0.0011, 0.049, 0.051, math.nan)}
    assert list(by_p.values()) == [
        Significance.STRONG, Significance.SIGNIFICANT, Significance.SIGNIFICANT, Significance.NOT_SIGNIFICANT,
        Significance.NO_SPREAD,
    ]  # fmt: skip
    assert [significance.is_significant for significance in by_p.values()] == [True, True, True, False, False]
    assert significance_of(math.nan, compare({0: 1.0}, {0: 2.0})) == Significance.TOO_FEW_SEEDS

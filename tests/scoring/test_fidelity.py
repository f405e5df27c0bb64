"""Distances between sets of features: closed forms, hand-made points, and second implementations."""

from math import pi, sin

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from callbacks.figures import draw_classes
from scoring.classes import class_scores, missing_modes
from scoring.fidelity import RealFeatures, kid_subset_size, nearest, neighbour_radii


def gaussian(count: int, mean: float = 0.0, scale: float = 1.0, dimensions: int = 4, seed: int = 0) -> Tensor:
    return mean + scale * torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))


# FID


def test_fid_agrees_with_scipy_and_with_torch_fidelity():
    real, fake = gaussian(300).exp(), gaussian(200, 0.3, 1.2, seed=1)
    value = RealFeatures(real).frechet_distance(fake)
    sigma_real, sigma_fake = np.cov(real.double(), rowvar=False), np.cov(fake.double(), rowvar=False)
    root = scipy.linalg.sqrtm(sigma_real @ sigma_fake).real
    by_scipy = ((real - fake.mean(0)).double().mean(0) ** 2).sum() + np.trace(sigma_real + sigma_fake - 2 * root)
    assert value == pytest.approx(float(by_scipy), rel=1e-6)
    statistics = [fid_features_to_statistics(features.double()) for features in (real, fake)]
    other = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert value == pytest.approx(other, rel=1e-6)


def test_fid_of_gaussians_is_their_closed_form():
    """‖μ − ν‖² + tr(Σ + Τ − 2 (ΣΤ)^½): 4 · 0.5² + 4 · (1 − 2)² for means 0.5 apart and scales 1 and 2."""
    value = RealFeatures(gaussian(200_000)).frechet_distance(gaussian(200_000, 0.5, 2.0, seed=1))
    assert value == pytest.approx(4 * 0.25 + 4 * 1.0, rel=0.01)


def test_fid_of_a_set_and_itself_is_zero():
    features = gaussian(100)
    assert RealFeatures(features).frechet_distance(features) == pytest.approx(0, abs=1e-9)


def test_one_real_side_serves_many_fakes():
    real = RealFeatures(gaussian(100))
    first = real.frechet_distance(gaussian(80, seed=1))
    assert real.frechet_distance(gaussian(90, 1.0, seed=2)) != first
    assert real.frechet_distance(gaussian(80, seed=1)) == first


# KID


def test_kid_agrees_with_torch_fidelity():
    real, fake = gaussian(3000), gaussian(3000, 0.3, seed=1)
    mean, std = RealFeatures(real).kernel_distance(fake, seed=0)
    other = kid_features_to_metric(
        real, fake, kid_subsets=100, kid_subset_size=1000, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, rng_seed=5, verbose=False,
    )  # fmt: skip
    spread = other["kernel_inception_distance_std"]  # the two draw different subsets
    assert mean == pytest.approx(other["kernel_inception_distance_mean"], abs=4 * spread / 10)
    assert std == pytest.approx(spread, rel=0.5)


def test_kid_of_gaussians_is_their_closed_form():
    """In one dimension k(x, y) = (xy + 1)³, so MMD² = Σ_p C(3, p) (E[x^p] − E[y^p])² over p = 1, 2, 3.

    For N(0, 1) and N(m, 1) the moments differ by m, m² and m³ + 3m.
    """
    m = 0.5
    expected = 3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2
    real, fake = gaussian(100_000, dimensions=1), gaussian(100_000, m, dimensions=1, seed=1)
    assert RealFeatures(real).kernel_distance(fake, seed=0)[0] == pytest.approx(expected, rel=0.05)


def test_kid_of_one_distribution_is_around_zero():
    mean, std = RealFeatures(gaussian(4000)).kernel_distance(gaussian(4000, seed=1), seed=0)
    assert abs(mean) < std


def test_kid_depends_on_its_seed_alone():
    real, fake = RealFeatures(gaussian(1500)), gaussian(1500, 0.2, seed=1)
    state = torch.get_rng_state()
    first = real.kernel_distance(fake, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert real.kernel_distance(fake, seed=3) == first
    assert real.kernel_distance(fake, seed=4) != first


@pytest.mark.parametrize(("real", "fakes", "size"), [(10_000, 10_000, 1000), (300, 300, 150), (300, 100, 50)])
def test_kid_subsets_are_of_a_thousand_or_of_half(real: int, fakes: int, size: int):
    assert kid_subset_size(real, fakes) == size


# Precision, recall, density, coverage


def polygon(corners: int, radius: float = 1.0, x: float = 0.0) -> Tensor:
    angles = torch.arange(corners) * 2 * pi / corners
    return torch.stack([x + radius * angles.cos(), radius * angles.sin()], dim=1)


def test_radii_of_a_regular_polygon_are_its_chords():
    """A corner's neighbours come in pairs, at chords 2 sin(j π / n)."""
    expected = [2 * sin(j * pi / 12) for j in (1, 1, 2, 2, 3)]
    torch.testing.assert_close(neighbour_radii(polygon(12)), torch.tensor([expected] * 12), atol=1e-5, rtol=0)


def test_a_set_against_itself_has_all_and_against_a_far_one_nothing():
    points = gaussian(200)
    same, far = RealFeatures(points).manifold_scores(points), RealFeatures(points).manifold_scores(points + 100)
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)
    assert far == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_collapse_to_half_of_the_modes_keeps_precision_and_loses_recall():
    left, right = polygon(12), polygon(12, x=50.0)
    found = RealFeatures(torch.cat([left, right])).manifold_scores(torch.cat([left, left]))
    assert found["precision"] == 1
    assert found["recall"] == 0.5 and found["coverage"] == 0.5


def test_half_of_the_fakes_astray_halves_precision_and_density():
    left = polygon(12)
    whole = RealFeatures(left).manifold_scores(left)
    found = RealFeatures(left).manifold_scores(torch.cat([left, left + 50]))
    assert found["precision"] == 0.5 and found["recall"] == 1
    assert found["density"] == pytest.approx(whole["density"] / 2)


def test_density_counts_the_balls_that_a_fake_is_in():
    """At the centre of a 12-gon of radius 1 a fake is in no ball of radius 2 sin(3π/12) = 1.41: in every one."""
    real = RealFeatures(polygon(12))
    assert real.manifold_scores(torch.zeros(6, 2))["density"] == pytest.approx(12 / 5)
    assert real.manifold_scores(torch.full((6, 2), 9.0))["density"] == 0


@pytest.mark.parametrize("count", [50, 2300])  # within one block of rows, and over several
def test_precision_and_recall_agree_with_torch_fidelity(count: int):
    real, fake = gaussian(count, dimensions=8), gaussian(count + 70, 0.4, 1.1, dimensions=8, seed=1)
    found = RealFeatures(real).manifold_scores(fake)
    other = prc_features_to_metric(
        fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    assert found["precision"] == pytest.approx(other["precision"], abs=1e-6)
    assert found["recall"] == pytest.approx(other["recall"], abs=1e-6)
    assert 0.05 < found["precision"] < 0.99


def test_density_and_coverage_agree_with_their_definition():
    real, fake = gaussian(60), gaussian(70, 0.5, seed=1)
    distance = torch.cdist(real, fake)
    radius = torch.cdist(real, real).sort(dim=1).values[:, 5]
    inside = distance <= radius[:, None]
    found = RealFeatures(real).manifold_scores(fake)
    assert found["density"] == pytest.approx(float(inside.sum()) / (5 * 70))
    assert found["coverage"] == pytest.approx(float(inside.any(dim=1).float().mean()))


def test_nearest_is_found_over_blocks_of_rows():
    queries, among = gaussian(2500), gaussian(700, seed=1)
    distance, index = nearest(queries, among)
    every = (queries[:, None] - among[None]).norm(dim=2)
    torch.testing.assert_close(distance, every.min(dim=1).values, atol=1e-4, rtol=0)
    assert (index == every.min(dim=1).indices).float().mean() > 0.999


# Classes


def test_class_scores_are_shares_and_the_mean_of_the_likeliest():
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1]])
    found = class_scores(probabilities)
    torch.testing.assert_close(found.shares, torch.tensor([0.75, 0.25, 0.0]))
    assert found.confidence == pytest.approx((0.9 + 0.6 + 0.8 + 0.7) / 4)


@pytest.mark.parametrize(
    ("fake", "missing"),
    [([0.25] * 4, 0.0), ([1.0, 0, 0, 0], 0.75), ([0.5, 0.46, 0.02, 0.02], 0.5), ([0.5, 0.44, 0.03, 0.03], 0.0)],
)
def test_modes_are_missing_below_a_tenth_of_their_real_share(fake: list[float], missing: float):
    assert missing_modes(torch.tensor(fake), torch.full((4,), 0.25)) == missing


def test_classes_that_no_real_image_has_are_not_missed():
    assert missing_modes(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])) == 0


def test_class_bars_have_a_bar_for_each_class_and_source():
    shares = {"real": {"a": 0.5, "b": 0.5}, "generated": {"a": 0.9, "b": 0.1}}
    (axes,) = draw_classes(shares).axes
    assert sorted(round(bar.get_height(), 3) for bar in axes.patches) == [0.1, 0.5, 0.5, 0.9]

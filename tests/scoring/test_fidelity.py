"""Distances between sets of features: closed forms, hand-made points, and second implementations."""

from math import pi, sin
from statistics import fmean, stdev

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
from scoring.fidelity import RealFeatures, mean_kernel, nearest, neighbour_radii, typical_distance


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


# Within one block of rows, and over several; of pairs, and where features are many of moments.
@pytest.mark.parametrize(("count", "dimensions"), [(60, 4), (2300, 4), (60, 8), (2300, 50)])
def test_kid_is_torch_fidelitys_over_one_subset_of_all_images(count: int, dimensions: int):
    real, fake = gaussian(count, dimensions=dimensions), gaussian(count, 0.3, dimensions=dimensions, seed=1)
    other = kid_features_to_metric(
        real, fake, kid_subsets=1, kid_subset_size=count, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, rng_seed=5, verbose=False,
    )  # fmt: skip
    found = RealFeatures(real).kernel_distance(fake)
    assert found == pytest.approx(other["kernel_inception_distance_mean"], rel=1e-5)
    assert found > 0.1


def test_kid_of_moments_is_that_of_pairs_to_rounding():
    real, fake = gaussian(2300, 3.0, dimensions=20), gaussian(1700, 3.1, 1.1, dimensions=20, seed=1)
    by_pairs = mean_kernel(real) + mean_kernel(fake) - 2 * mean_kernel(real, fake)
    assert RealFeatures(real).kernel_distance(fake) == pytest.approx(by_pairs, rel=1e-9)


def test_kid_is_that_of_all_pairs():
    real, fake = gaussian(30, dimensions=3).double(), gaussian(40, 0.5, dimensions=3, seed=1).double()

    def mean(left: Tensor, right: Tensor, other_rows: bool) -> float:
        pairs = [(x, y) for i, x in enumerate(left) for j, y in enumerate(right) if i != j or not other_rows]
        return fmean(float((x @ y / 3 + 1) ** 3) for x, y in pairs)

    expected = mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, False)
    assert RealFeatures(real.float()).kernel_distance(fake.float()) == pytest.approx(expected, rel=1e-9)


def test_kid_does_not_depend_on_the_order_of_images():
    real, fake = gaussian(1500), gaussian(1100, 0.2, seed=1)
    order = [torch.randperm(len(rows), generator=torch.Generator().manual_seed(2)) for rows in (real, fake)]
    state = torch.get_rng_state()
    found = [RealFeatures(real).kernel_distance(fake), RealFeatures(real[order[0]]).kernel_distance(fake[order[1]])]
    assert found[0] == pytest.approx(found[1], rel=1e-10)
    assert torch.equal(torch.get_rng_state(), state)


def test_kid_of_gaussians_is_their_closed_form():
    """In one dimension k(x, y) = (xy + 1)³, so MMD² = Σ_p C(3, p) (E[x^p] − E[y^p])² over p = 1, 2, 3.

    For N(0, 1) and N(m, 1) the moments differ by m, m² and m³ + 3m.
    """
    m = 0.5
    expected = 3 * m**2 + 3 * m**4 + (m**3 + 3 * m) ** 2
    values = [
        RealFeatures(gaussian(100, dimensions=1, seed=seed)).kernel_distance(
            gaussian(80, m, dimensions=1, seed=-1 - seed)
        )
        for seed in range(1000)
    ]
    error = stdev(values) / len(values) ** 0.5
    assert fmean(values) == pytest.approx(expected, abs=3 * error)
    assert error < 0.05 * expected


def test_kid_of_one_distribution_is_around_zero_for_any_number_of_images():
    values = [
        RealFeatures(gaussian(20, seed=2 * seed)).kernel_distance(gaussian(30, seed=2 * seed + 1))
        for seed in range(200)
    ]
    assert abs(fmean(values)) < 3 * stdev(values) / len(values) ** 0.5
    assert min(values) < 0 < max(values)


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


@pytest.mark.parametrize("size", [64, 2048])
def test_what_lies_on_a_ball_is_in_it_whatever_products_round_to(size: int):
    points = torch.randn(1500, size, generator=torch.Generator().manual_seed(0)).relu()
    assert RealFeatures(points).manifold_scores(points)["density"] == pytest.approx(6 / 5, abs=1e-3)  # itself and five
    copies = points[:250].repeat(6, 1)  # whose balls have no size
    same = RealFeatures(copies).manifold_scores(copies[torch.randperm(1500)])
    assert (same["precision"], same["recall"], same["coverage"]) == (1, 1, 1)


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


def test_manifold_scores_over_blocks_are_those_of_one_matrix_of_distances():
    real, fake = gaussian(1300, dimensions=16).relu(), gaussian(1700, 0.2, 1.1, dimensions=16, seed=1).relu()
    distance, real_radii, fake_radii = torch.cdist(real, fake), *(torch.cdist(x, x).sort().values for x in (real, fake))
    expected = {
        "precision": (distance <= real_radii[:, 3, None]).any(dim=0).double().mean(),
        "recall": (distance <= fake_radii[:, 3]).any(dim=1).double().mean(),
        "density": (distance <= real_radii[:, 5, None]).double().sum() / (5 * len(fake)),
        "coverage": (distance <= real_radii[:, 5, None]).any(dim=1).double().mean(),
    }
    found = RealFeatures(real).manifold_scores(fake)
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, abs=1e-6)
    assert all(0.1 < value < 0.99 for value in found.values()), found
    torch.testing.assert_close(neighbour_radii(real), real_radii[:, 1:6], atol=1e-4, rtol=0)


def test_nearest_is_found_over_blocks_of_rows():
    queries, among = gaussian(2500), gaussian(700, seed=1)
    distance, index = nearest(queries, among)
    every = (queries[:, None] - among[None]).norm(dim=2)
    torch.testing.assert_close(distance, every.min(dim=1).values, atol=1e-4, rtol=0)
    assert (index == every.min(dim=1).indices).float().mean() > 0.999


def test_nearest_of_equal_rows_is_at_no_distance():
    rows = 100 + gaussian(300)
    distance, index = nearest(rows, torch.cat([rows + 1, rows]))
    assert torch.equal(distance, torch.zeros(300)) and torch.equal(index, torch.arange(300, 600))


def test_typical_distance_is_that_of_two_rows():
    """Of Gaussians in d dimensions the squared distance is 2 d σ² on average."""
    assert typical_distance(gaussian(50_000, 3.0, 0.5)) == pytest.approx((2 * 4 * 0.25) ** 0.5, rel=0.01)


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
    assert sorted(round(bar.get_height(), 3) for bar in axes.patches) == [10, 50, 50, 90]  # per cent

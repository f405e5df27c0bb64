"""Likelihoods p(x | z) against closed forms."""

from math import exp, log, pi

import pytest
import torch

from lightning_modules.likelihoods import BernoulliLikelihood, DiscretizedLogisticLikelihood, GaussianLikelihood

SHAPE = (3, 2, 4, 4)  # three images of 32 pixels
ALL = [BernoulliLikelihood(), GaussianLikelihood(0.1, False), DiscretizedLogisticLikelihood(0.05)]


def test_bernoulli_log_prob_is_the_cross_entropy_summed_over_pixels():
    logits, images = torch.randn(SHAPE), torch.rand(SHAPE)
    p = logits.double().sigmoid()
    expected = (images * p.log() + (1 - images) * (1 - p).log()).flatten(1).sum(1)
    log_prob = BernoulliLikelihood().log_prob(logits, images)
    assert log_prob.shape == (3,)
    torch.testing.assert_close(log_prob.double(), expected, rtol=1e-5, atol=1e-4)


def test_bernoulli_probabilities_of_all_binary_images_sum_to_one():
    logits = torch.randn(1, 1, 2, 2)
    corners = torch.tensor([[(i >> bit) & 1 for bit in range(4)] for i in range(16)]).float().view(16, 1, 2, 2)
    total = BernoulliLikelihood().log_prob(logits.expand(16, -1, -1, -1), corners).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0), rtol=1e-5, atol=0)


def test_bernoulli_is_finite_for_extreme_logits():
    log_prob = BernoulliLikelihood().log_prob(torch.full(SHAPE, 200.0), torch.zeros(SHAPE))
    torch.testing.assert_close(log_prob, torch.full((3,), -200.0 * 32))


def test_gaussian_log_prob_is_the_density_summed_over_pixels():
    mean, images, scale = torch.rand(SHAPE), torch.rand(SHAPE), 0.3
    squares = ((images - mean) / scale).square().flatten(1).sum(1)
    expected = -0.5 * squares - 32 * (log(scale) + 0.5 * log(2 * pi))
    torch.testing.assert_close(GaussianLikelihood(scale, learn_scale=False).log_prob(mean, images), expected)


@pytest.mark.parametrize("learn_scale", [True, False])
def test_gaussian_scale_is_learned_only_if_asked(learn_scale: bool):
    likelihood = GaussianLikelihood(0.5, learn_scale)
    assert [p.requires_grad for p in likelihood.parameters()] == [learn_scale]


def test_learned_gaussian_scale_converges_to_the_residuals_standard_deviation():
    likelihood = GaussianLikelihood(1.0, learn_scale=True)
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-likelihood.log_prob(torch.zeros_like(images), images).mean()).backward()
        optimizer.step()
    assert exp(likelihood.log_scale.item()) == pytest.approx(images.square().mean().sqrt().item(), rel=1e-3)


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), GaussianLikelihood(0.1, False)])
def test_samples_average_to_the_mean(likelihood):
    torch.manual_seed(0)
    parameters = torch.rand(1, 1, 4, 4)  # inside [0, 1], where a Gaussian's mean is not clamped
    samples = likelihood.sample(parameters.expand(20_000, -1, -1, -1))
    torch.testing.assert_close(samples.mean(0, keepdim=True), likelihood.mean(parameters), atol=0.02, rtol=0)


@pytest.mark.parametrize("likelihood", ALL)
def test_mean_is_in_unit_range_for_any_parameters(likelihood):
    mean = likelihood.mean(torch.randn(SHAPE) * 100)
    assert mean.min() >= 0 and mean.max() <= 1

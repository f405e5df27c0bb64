"""Likelihoods over bytes: masses that sum to one, expected images, and gradients in the tails."""

from math import log, pi

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from lightning_modules.byte_likelihoods import (
    CategoricalLikelihood,
    DiscretizedLogisticLikelihood,
    LogisticMixtureLikelihood,
)
from lightning_modules.likelihoods import Likelihood

VALUES = torch.arange(256.0).view(256, 1, 1, 1) / 255
ALL = [
    DiscretizedLogisticLikelihood(0.05),
    LogisticMixtureLikelihood(3),
    CategoricalLikelihood(16),
    CategoricalLikelihood(2),
    CategoricalLikelihood(256),
]


def ids(likelihood: Likelihood) -> str:
    return f"{type(likelihood).__name__}-{likelihood.num_outputs(1)}"


def outputs(likelihood: Likelihood, count: int, channels: int = 1, spread: float = 1.0, seed: int = 0) -> Tensor:
    """What a decoder might put out for images of one pixel."""
    drawn = torch.Generator().manual_seed(seed)
    return spread * torch.randn(count, likelihood.num_outputs(channels), 1, 1, generator=drawn)


# All of them


@pytest.mark.parametrize("likelihood", ALL, ids=ids)
@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
def test_masses_of_the_256_values_of_a_pixel_sum_to_one(likelihood: Likelihood, spread: float):
    for parameters in outputs(likelihood, 20, spread=spread).split(1):
        log_mass = likelihood.log_prob(parameters.expand(256, -1, -1, -1), VALUES)
        assert log_mass.shape == (256,) and log_mass.isfinite().all()
        assert log_mass.logsumexp(0).item() == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize("likelihood", ALL[1:4], ids=ids)
@pytest.mark.parametrize(("channels", "tolerance"), [(1, 0.008), (3, 0.03)])
def test_samples_average_to_the_mean(likelihood: Likelihood, channels: int, tolerance: float):
    torch.manual_seed(0)
    for parameters in outputs(likelihood, 10, channels).split(1):
        many = likelihood.sample(parameters.expand(40_000, -1, -1, -1))
        assert many.shape == (40_000, channels, 1, 1)
        assert torch.equal((many * 255).round() / 255, many) and many.min() >= 0 and many.max() <= 1
        torch.testing.assert_close(many.mean(0, keepdim=True), likelihood.mean(parameters), atol=tolerance, rtol=0)


@pytest.mark.parametrize("likelihood", ALL, ids=ids)
def test_samples_are_as_frequent_as_their_masses(likelihood: Likelihood):
    """The average log mass of draws is the negative entropy."""
    torch.manual_seed(0)
    for parameters in outputs(likelihood, 3).split(1):
        log_mass = likelihood.log_prob(parameters.expand(256, -1, -1, -1), VALUES)
        wide = parameters.expand(20_000, -1, -1, -1)
        found = likelihood.log_prob(wide, likelihood.sample(wide)).mean()
        assert found.item() == pytest.approx((log_mass.exp() * log_mass).sum().item(), abs=0.05)


@pytest.mark.parametrize("likelihood", ALL, ids=ids)
@pytest.mark.parametrize("channels", [1, 3])
def test_log_prob_and_its_gradients_are_finite_far_in_the_tails(likelihood: Likelihood, channels: int):
    signs = torch.randn(200, likelihood.num_outputs(channels), 2, 2, generator=torch.Generator().manual_seed(0)).sign()
    parameters = (30 * signs).requires_grad_()
    images = torch.randint(0, 256, (200, channels, 2, 2), generator=torch.Generator().manual_seed(1)) / 255
    images[:, :, 0, 0], images[:, :, 1, 1] = 0.0, 1.0
    log_prob = likelihood.log_prob(parameters, images)
    assert log_prob.shape == (200,) and log_prob.isfinite().all() and (log_prob <= 0).all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), parameters)
    assert gradient.isfinite().all()
    mean = likelihood.mean(parameters)
    assert mean.shape == images.shape and mean.isfinite().all() and mean.min() >= 0 and mean.max() <= 1


@pytest.mark.parametrize("likelihood", ALL, ids=ids)
def test_pixels_of_an_image_add_up(likelihood: Likelihood):
    parameters = torch.randn(2, likelihood.num_outputs(3), 4, 5)
    images = torch.randint(0, 256, (2, 3, 4, 5)) / 255
    positions = [
        likelihood.log_prob(parameters[:, :, y : y + 1, x : x + 1], images[:, :, y : y + 1, x : x + 1])
        for y in range(4)
        for x in range(5)
    ]
    torch.testing.assert_close(torch.stack(positions).sum(0), likelihood.log_prob(parameters, images))


# The discretized logistic


@pytest.mark.parametrize("scale", [0.003, 0.1, 2.0])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.4, 1.0])
def test_masses_of_all_bytes_sum_to_one(scale: float, mean: float):
    likelihood = DiscretizedLogisticLikelihood(scale)
    values = torch.arange(256.0).view(256, 1, 1, 1) / 255
    log_mass = likelihood.log_prob(torch.full((256, 1, 1, 1), mean), values)
    assert log_mass.logsumexp(0).item() == pytest.approx(0, abs=2e-3)
    assert torch.isfinite(log_mass).all()


def test_mass_of_a_byte_is_the_logistics_over_its_bin():
    likelihood = DiscretizedLogisticLikelihood(0.05)
    x, mean, scale = 100 / 255, 0.42, 0.05

    def cdf(at: float) -> float:
        return float(torch.sigmoid(torch.tensor((at - mean) / scale, dtype=torch.double)))

    expected = log(cdf(x + 0.5 / 255) - cdf(x - 0.5 / 255))
    found = likelihood.log_prob(torch.full((1, 1, 1, 1), mean), torch.full((1, 1, 1, 1), x))
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_samples_are_bytes_spread_as_the_logistic():
    likelihood = DiscretizedLogisticLikelihood(0.05)
    torch.manual_seed(0)
    drawn = likelihood.sample(torch.full((20_000, 1, 1, 1), 0.5))
    assert torch.equal((drawn * 255).round() / 255, drawn) and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.std().item() == pytest.approx(0.05 * pi / 3**0.5, rel=0.03)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.003)


# Its mixture


def test_mixture_has_the_papers_numbers_of_outputs():
    assert LogisticMixtureLikelihood(10).num_outputs(3) == 100
    assert LogisticMixtureLikelihood(5).num_outputs(1) == 15


def test_one_component_of_grey_is_the_discretized_logistic():
    mean, log_scale = 0.3, -2.0  # in units in which pixels lie in [-1, 1]
    parameters = torch.tensor([0.7, mean, log_scale]).view(1, 3, 1, 1).expand(256, -1, -1, -1)
    plain = DiscretizedLogisticLikelihood(float(torch.tensor(log_scale).exp() / 2))
    expected = plain.log_prob(torch.full((256, 1, 1, 1), (mean + 1) / 2), VALUES)
    torch.testing.assert_close(LogisticMixtureLikelihood(1).log_prob(parameters, VALUES), expected)


def pixel_cnn_log_prob(x: Tensor, parameters: Tensor, components: int) -> Tensor:
    """Of one pixel, x (N, 3) in [-1, 1], as PixelCNN++ writes it, in float64."""
    total = []
    for numbers in parameters.double().view(components, 10):
        logit, means, log_scales, moves = numbers[0], numbers[1:4], numbers[4:7].clamp(min=-7), numbers[7:].tanh()
        mean = torch.stack(
            [
                means[0].expand(len(x)),
                means[1] + moves[0] * x[:, 0],
                means[2] + moves[1] * x[:, 0] + moves[2] * x[:, 1],
            ],
            dim=1,
        )
        upper, lower = (torch.sigmoid((x - mean + edge) / log_scales.exp()) for edge in (1 / 255, -1 / 255))
        upper, lower = torch.where(x > 0.999, 1.0, upper), torch.where(x < -0.999, 0.0, lower)
        total.append(logit + (upper - lower).log().sum(1))
    return torch.stack(total).logsumexp(0) - parameters.double().view(components, 10)[:, 0].logsumexp(0)


def test_colour_mixture_is_pixel_cnns():
    likelihood = LogisticMixtureLikelihood(4)
    for parameters in outputs(likelihood, 10, channels=3).split(1):
        images = torch.randint(0, 256, (300, 3, 1, 1)) / 255
        images[0], images[1] = 0.0, 1.0
        expected = pixel_cnn_log_prob(images.double().flatten(1) * 2 - 1, parameters.flatten(), 4)
        found = likelihood.log_prob(parameters.expand(300, -1, -1, -1), images)
        torch.testing.assert_close(found.double(), expected, atol=1e-3, rtol=1e-4)


def test_mixtures_mean_between_two_sharp_components_is_their_average():
    sharp = torch.tensor([0.0, -0.6, -7.0, 0.0, 0.4, -7.0]).view(1, 6, 1, 1)
    assert LogisticMixtureLikelihood(2).mean(sharp).item() == pytest.approx((0.2 + 0.7) / 2, abs=1e-4)


def test_mean_of_colours_far_from_the_edges_follows_their_moves():
    """Of narrow logistics: a mean moves as far as the mean that moves it."""
    red, green, blue, moves = 0.5, -0.1, 0.2, torch.tensor([0.5, -0.3, 0.4])
    numbers = torch.cat([torch.tensor([0.0, red, green, blue, -6.0, -6.0, -6.0]), moves.atanh()])
    green += 0.5 * red
    blue += -0.3 * red + 0.4 * green
    expected = (torch.tensor([red, green, blue]) + 1) / 2
    found = LogisticMixtureLikelihood(1).mean(numbers.view(1, 10, 1, 1)).flatten()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_mean_of_a_wide_logistic_at_the_edge_is_not_its_location():
    """Half of its mass is at 0: what is cut there pulls the mean up."""
    drawn = (0.1 * torch.logit(torch.rand(200_000, generator=torch.Generator().manual_seed(0)))).clamp(0, 1)
    edge = torch.tensor([0.0, -1.0, log(0.2)]).view(1, 3, 1, 1)
    assert LogisticMixtureLikelihood(1).mean(edge).item() == pytest.approx(drawn.mean().item(), abs=1e-3)


# The categorical


def test_categorical_spreads_each_levels_probability_evenly_over_its_bytes():
    logits = torch.randn(1, 16, 1, 1)
    expected = (logits.log_softmax(1) - log(16)).flatten().repeat_interleave(16)
    found = CategoricalLikelihood(16).log_prob(logits.expand(256, -1, -1, -1), VALUES)
    torch.testing.assert_close(found, expected)


def test_categorical_keeps_channels_apart():
    likelihood = CategoricalLikelihood(4)
    levels = torch.tensor([3, 0, 2])  # of red, green and blue
    parameters = 100.0 * one_hot(levels, 4).view(1, 12, 1, 1)
    expected = (levels * 64 + 31.5) / 255
    torch.testing.assert_close(likelihood.mean(parameters).flatten(), expected)
    bytes_of_levels = (levels * 64 + 10).view(1, 3, 1, 1) / 255
    assert likelihood.log_prob(parameters, bytes_of_levels).item() == pytest.approx(-3 * log(64), abs=1e-4)

"""Likelihoods, priors, adversarial losses and penalties against closed forms."""

from math import exp, log, pi

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lightning_modules.likelihoods import BernoulliLikelihood, GaussianLikelihood
from lightning_modules.losses import HingeLoss, MinimaxLoss, NonSaturatingLoss, WassersteinLoss
from lightning_modules.penalties import GradientPenalty, NoPenalty, R1Penalty
from lightning_modules.priors import Prior, StandardNormalPrior

SHAPE = (3, 2, 4, 4)  # three images of 32 pixels


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


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood(), GaussianLikelihood(0.1, False)])
def test_mean_is_in_unit_range_for_any_parameters(likelihood):
    mean = likelihood.mean(torch.randn(SHAPE) * 100)
    assert mean.min() >= 0 and mean.max() <= 1


def test_standard_normal_log_prob_is_the_density_summed_over_latents():
    z = torch.randn(5, 7)
    expected = -0.5 * z.square().sum(1) - 7 / 2 * log(2 * pi)
    torch.testing.assert_close(StandardNormalPrior(7).log_prob(z), expected)


def test_standard_normal_kl_is_the_closed_form_and_zero_only_at_the_prior():
    mean, scale = torch.randn(5, 7), torch.rand(5, 7) + 0.1
    expected = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(1)
    kl = StandardNormalPrior(7).kl(Normal(mean, scale), mean)
    torch.testing.assert_close(kl, expected)
    assert (kl > 0).all()
    at_prior = StandardNormalPrior(7).kl(Normal(torch.zeros(1, 7), torch.ones(1, 7)), torch.zeros(1, 7))
    torch.testing.assert_close(at_prior, torch.zeros(1))


def test_estimated_kl_of_a_prior_without_closed_form_averages_to_the_closed_form():
    torch.manual_seed(0)
    prior = StandardNormalPrior(4)
    posterior = Normal(torch.full((50_000, 4), 0.7), torch.full((50_000, 4), 0.5))
    z = posterior.sample()
    estimate, exact = Prior.kl(prior, posterior, z), prior.kl(posterior, z)
    assert estimate.mean().item() == pytest.approx(exact.mean().item(), abs=0.03)
    assert estimate.std() > 0.1  # it is an estimate, not the closed form in disguise


def test_standard_normal_samples_have_its_moments():
    torch.manual_seed(0)
    z = StandardNormalPrior(3).sample(50_000)
    assert z.shape == (50_000, 3)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(3), atol=0.03, rtol=0)


REAL, FAKE = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_minimax_is_the_formula():
    value = (log(sigmoid(2)) + log(sigmoid(-1))) / 2 + (log(1 - sigmoid(0.5)) + log(1 - sigmoid(-3))) / 2
    assert MinimaxLoss().discriminator(REAL, FAKE).item() == pytest.approx(-value, rel=1e-6)
    fake_term = (log(1 - sigmoid(0.5)) + log(1 - sigmoid(-3))) / 2
    assert MinimaxLoss().generator(FAKE).item() == pytest.approx(fake_term, rel=1e-6)


def test_minimax_at_equilibrium_is_two_log_two():
    logits = torch.zeros(4, 1)
    assert MinimaxLoss().discriminator(logits, logits).item() == pytest.approx(2 * log(2))


def test_non_saturating_shares_the_discriminator_and_ascends_log_d():
    assert NonSaturatingLoss().discriminator(REAL, FAKE) == MinimaxLoss().discriminator(REAL, FAKE)
    expected = -(log(sigmoid(0.5)) + log(sigmoid(-3))) / 2
    assert NonSaturatingLoss().generator(FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_minimax_gradient_vanishes_where_non_saturating_does_not():
    for loss, expected in ((MinimaxLoss(), 0.0), (NonSaturatingLoss(), -1.0)):
        logits = torch.tensor([[-30.0]], requires_grad=True)  # the discriminator is sure
        loss.generator(logits).backward()
        assert logits.grad.item() == pytest.approx(expected, abs=1e-6)


def test_hinge_is_its_formula():
    assert HingeLoss().discriminator(REAL, FAKE).item() == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)
    assert HingeLoss().generator(FAKE).item() == pytest.approx(1.25)


def test_wasserstein_is_the_difference_of_means():
    assert WassersteinLoss().discriminator(REAL, FAKE).item() == pytest.approx(-1.25 - 0.5)
    assert WassersteinLoss().generator(FAKE).item() == pytest.approx(1.25)


@pytest.mark.parametrize("loss", [MinimaxLoss(), NonSaturatingLoss(), HingeLoss(), WassersteinLoss()])
def test_descending_moves_the_logits_where_they_should_go(loss):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss.discriminator(real, fake).backward()
    assert (real.grad <= 0).all() and real.grad.min() < 0  # up
    assert (fake.grad >= 0).all() and fake.grad.max() > 0  # down
    fake.grad = None
    loss.generator(fake).backward()
    assert (fake.grad < 0).all()  # up


@pytest.mark.parametrize("loss", [MinimaxLoss(), NonSaturatingLoss()])
def test_losses_are_finite_for_extreme_logits(loss):
    assert loss.discriminator(-1e4 * torch.ones(1, 1), 1e4 * torch.ones(1, 1)).item() == pytest.approx(2e4)
    assert torch.isfinite(loss.generator(-1e4 * torch.ones(1, 1)))


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩, whose gradient in x is w everywhere."""

    def __init__(self, w: torch.Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.w).flatten(1).sum(1, keepdim=True)


class Square(nn.Module):
    """D(x) = ‖x‖² / 2, whose gradient in x is x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x.square().flatten(1).sum(1, keepdim=True)


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    w = torch.randn(1, 2, 2)
    discriminator = Linear(w)
    real = torch.rand(5, 1, 2, 2)
    penalty = R1Penalty(weight=3.0, share=1.0)(discriminator, real, real)
    assert penalty.item() == pytest.approx(1.5 * w.square().sum().item(), rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, 3.0 * w)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 10), (0.25, 3), (0.01, 1)])  # rounded up: never no image
def test_r1_takes_the_mean_over_its_share_of_the_batch(share, taken):
    real = torch.rand(10, 1, 2, 2)
    expected = 0.5 * 4.0 * real[:taken].square().sum() / taken
    assert R1Penalty(weight=4.0, share=share)(Square(), real, real).item() == pytest.approx(expected.item(), rel=1e-5)


def test_gradient_penalty_of_a_linear_discriminator_is_its_distance_from_norm_one():
    w = torch.full((1, 2, 2), 1.5)  # norm 3
    discriminator = Linear(w)
    penalty = GradientPenalty(weight=10.0)(discriminator, torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2))
    assert penalty.item() == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(discriminator.w.grad, 10 * 2 * (3 - 1) * w / 3)


def test_gradient_penalty_looks_between_real_and_fake():
    real, fake = torch.full((2000, 1, 1, 1), 2.0), torch.full((2000, 1, 1, 1), 3.0)
    torch.manual_seed(0)
    # x̂ is uniform in [2, 3], so E[(x̂ − 1)²] = ∫₁² t² dt = 7/3
    assert GradientPenalty(weight=1.0)(Square(), real, fake).item() == pytest.approx(7 / 3, rel=0.03)


def test_no_penalty_is_zero():
    assert NoPenalty()(Linear(torch.ones(1, 2, 2)), torch.rand(5, 1, 2, 2), torch.rand(5, 1, 2, 2)).item() == 0

"""Adversarial losses against closed forms: their values, and where their gradients push the logits."""

from math import exp, log

import pytest
import torch

from lightning_modules.losses import (
    AdversarialLoss,
    HingeLoss,
    LeastSquaresLoss,
    MinimaxLoss,
    NonSaturatingLoss,
    RelativisticLoss,
    WassersteinLoss,
)

LOSSES: list[AdversarialLoss] = [
    MinimaxLoss(),
    NonSaturatingLoss(),
    HingeLoss(),
    WassersteinLoss(),
    LeastSquaresLoss(),
    RelativisticLoss(),
]
PUSHING = [loss for loss in LOSSES if not isinstance(loss, LeastSquaresLoss)]  # that one draws logits to a point
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


def test_least_squares_is_its_formula():
    assert LeastSquaresLoss().discriminator(REAL, FAKE).item() == pytest.approx((1 + 4) / 4 + (0.25 + 9) / 4)
    assert LeastSquaresLoss().generator(FAKE).item() == pytest.approx((0.25 + 16) / 4)


def test_least_squares_draws_logits_to_one_for_real_and_zero_for_fake():
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    LeastSquaresLoss().discriminator(real, fake).backward()
    torch.testing.assert_close(real.grad, (REAL - 1) / 2)  # of the mean of two halved squares
    torch.testing.assert_close(fake.grad, FAKE / 2)
    fake.grad = None
    LeastSquaresLoss().generator(fake).backward()
    torch.testing.assert_close(fake.grad, (FAKE - 1) / 2)
    at_rest = torch.ones(2, 1, requires_grad=True)
    LeastSquaresLoss().discriminator(at_rest, torch.zeros(2, 1)).backward()
    assert torch.equal(at_rest.grad, torch.zeros(2, 1))


def test_relativistic_loss_judges_each_fake_against_its_real_image():
    gaps = [2 - 0.5, -1 + 3]  # C(x) − C(G(z)) of each pair
    discriminator = -sum(log(sigmoid(gap)) for gap in gaps) / 2
    generator = -sum(log(sigmoid(-gap)) for gap in gaps) / 2
    assert RelativisticLoss().discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-6)
    assert RelativisticLoss().generator(FAKE, REAL).item() == pytest.approx(generator, rel=1e-6)


def test_relativistic_gradients_are_the_probabilities_of_the_wrong_order():
    gap = REAL - FAKE
    for loss, sign in ((RelativisticLoss().discriminator, -1), (lambda r, f: RelativisticLoss().generator(f, r), 1)):
        real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
        loss(real, fake).backward()
        expected = sign * (sign * gap).sigmoid() / 2
        torch.testing.assert_close(real.grad, expected)
        torch.testing.assert_close(fake.grad, -expected)  # moving both by as much changes nothing


def test_relativistic_generator_without_real_logits_is_refused():
    with pytest.raises(ValueError, match="needs the logits of real images"):
        RelativisticLoss().generator(FAKE)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_generators_gradient_reaches_real_logits_only_where_they_are_needed(loss: AdversarialLoss):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss.generator(fake, real).backward()
    assert (real.grad is not None) == loss.needs_real_logits


@pytest.mark.parametrize("loss", PUSHING, ids=lambda loss: type(loss).__name__)
def test_descending_moves_the_logits_where_they_should_go(loss: AdversarialLoss):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    loss.discriminator(real, fake).backward()
    assert (real.grad <= 0).all() and real.grad.min() < 0  # up
    assert (fake.grad >= 0).all() and fake.grad.max() > 0  # down
    fake.grad = None
    loss.generator(fake, REAL if loss.needs_real_logits else None).backward()
    assert (fake.grad < 0).all()  # up


@pytest.mark.parametrize("loss", [MinimaxLoss(), NonSaturatingLoss()])
def test_losses_are_finite_for_extreme_logits(loss):
    assert loss.discriminator(-1e4 * torch.ones(1, 1), 1e4 * torch.ones(1, 1)).item() == pytest.approx(2e4)
    assert torch.isfinite(loss.generator(-1e4 * torch.ones(1, 1)))


def test_relativistic_loss_is_finite_for_extreme_logits():
    low, high = torch.full((1, 1), -1e4), torch.full((1, 1), 1e4)
    assert RelativisticLoss().discriminator(low, high).item() == pytest.approx(2e4)
    assert RelativisticLoss().generator(low, high).item() == pytest.approx(2e4)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_equilibrium_is_where_the_best_discriminator_tells_nothing_apart(loss: AdversarialLoss):
    """Of equal distributions the best verdict is one logit for all images, for these losses are convex in logits."""
    logits = torch.linspace(-4, 4, 1601)
    losses = torch.stack([loss.discriminator(one.view(1, 1), one.view(1, 1)) for one in logits])
    best = logits[losses < losses.min() + 1e-6]
    found = loss.equilibrium
    assert found is not None and found.discriminator.value == pytest.approx(losses.min().item(), abs=1e-6)
    generator = torch.stack([loss.generator(one.view(1, 1), one.view(1, 1)) for one in best])
    verdicts = best.sigmoid()
    for level, values in ((found.generator, generator), (found.verdict, verdicts)):
        is_open = bool(values.max() - values.min() > 0.01)
        assert (level is None) == is_open
        if level is not None:
            assert level.value == pytest.approx(values.mean().item(), abs=1e-3)

"""Likelihoods p(x | z) against closed forms."""

from math import exp, log, pi

import pytest
import torch
from small_models import build, random_batch
from torch.distributions import ContinuousBernoulli as TorchsContinuousBernoulli

from lightning_modules.byte_likelihoods import DiscretizedLogisticLikelihood
from lightning_modules.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    Likelihood,
    OptimalGaussianLikelihood,
)

SHAPE = (3, 2, 4, 4)  # three images of 32 pixels
ALL = [
    BernoulliLikelihood(),
    ContinuousBernoulliLikelihood(),
    GaussianLikelihood(0.1, False),
    OptimalGaussianLikelihood(1000).eval(),
    DiscretizedLogisticLikelihood(0.05),
]


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


@pytest.mark.parametrize("likelihood", ALL[:4])
def test_samples_average_to_the_mean(likelihood):
    torch.manual_seed(0)
    parameters = torch.rand(1, 1, 4, 4)  # inside [0, 1], where a Gaussian's mean is not clamped
    samples = likelihood.sample(parameters.expand(20_000, -1, -1, -1))
    torch.testing.assert_close(samples.mean(0, keepdim=True), likelihood.mean(parameters), atol=0.02, rtol=0)


@pytest.mark.parametrize("likelihood", ALL)
def test_mean_is_in_unit_range_for_any_parameters(likelihood):
    mean = likelihood.mean(torch.randn(SHAPE) * 100)
    assert mean.min() >= 0 and mean.max() <= 1


@pytest.mark.parametrize("likelihood", ALL)
def test_one_number_for_each_pixel_says_all(likelihood: Likelihood):
    assert likelihood.num_outputs(1) == 1 and likelihood.num_outputs(3) == 3


# The continuous Bernoulli

LOGITS = [0.0, 1e-6, 1e-3, 0.0039, 0.0041, 0.19, 0.21, 1.0, 5.0, 12.0, 16.0, 20.0, 30.0, 100.0]
BOTH_SIDES = torch.tensor(sorted({sign * logit for logit in LOGITS for sign in (-1, 1)}))


def image_of(values: torch.Tensor) -> torch.Tensor:
    """Images of one pixel each."""
    return values.view(-1, 1, 1, 1)


@pytest.mark.parametrize("logit", BOTH_SIDES.tolist())
def test_continuous_bernoulli_is_a_density_on_the_unit_interval(logit: float):
    x = (torch.linspace(0, 1, 20_001, dtype=torch.float64)[:-1] + 0.5 / 20_000).float()
    density = ContinuousBernoulliLikelihood().log_prob(torch.full((20_000, 1, 1, 1), logit), image_of(x)).exp()
    assert density.double().mean().item() == pytest.approx(1, abs=1e-4)  # the midpoint rule
    expected = (density * x).double().mean().item()
    assert ContinuousBernoulliLikelihood().mean(torch.tensor(logit)).item() == pytest.approx(expected, abs=1e-4)


def test_continuous_bernoulli_is_torchs_where_that_is_accurate():
    logits, x = torch.linspace(-7, 7, 200), torch.rand(200)  # its clamp is felt soon after
    likelihood, torchs = ContinuousBernoulliLikelihood(), TorchsContinuousBernoulli(logits=logits)
    torch.testing.assert_close(
        likelihood.log_prob(image_of(logits), image_of(x)), torchs.log_prob(x), atol=3e-4, rtol=0
    )
    torch.testing.assert_close(likelihood.mean(logits), torchs.mean, atol=3e-4, rtol=0)


def test_continuous_bernoulli_in_float32_agrees_with_float64_and_so_do_its_gradients():
    def terms(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = logits.clone().requires_grad_()
        log_prob = ContinuousBernoulliLikelihood().log_prob(image_of(logits), image_of(torch.full_like(logits, 0.3)))
        mean = ContinuousBernoulliLikelihood().mean(logits)
        gradients = [torch.autograd.grad(of.sum(), logits, retain_graph=True)[0] for of in (log_prob, mean)]
        return log_prob.detach(), mean.detach(), *gradients

    for single, double in zip(terms(BOTH_SIDES), terms(BOTH_SIDES.double()), strict=True):
        assert single.isfinite().all()
        torch.testing.assert_close(single.double(), double, atol=5e-6, rtol=1e-5)


def test_continuous_bernoulli_samples_are_spread_as_its_density():
    """The average log density of draws is the negative entropy, E[λ] x̄ + log C − softplus(λ)."""
    torch.manual_seed(0)
    for logit in (-30.0, -3.0, 0.0, 0.1, 6.0):
        drawn = ContinuousBernoulliLikelihood().sample(torch.full((40_000, 1, 1, 1), logit))
        assert drawn.min() >= 0 and drawn.max() <= 1
        exact = ContinuousBernoulliLikelihood().mean(torch.tensor(logit)).item()
        variance = 1 / 12 if logit == 0 else 1 / logit**2 + 1 / (2 - 2 * torch.tensor(logit).cosh().item())
        assert drawn.mean().item() == pytest.approx(exact, abs=5 * (variance / 40_000) ** 0.5)
        assert drawn.var().item() == pytest.approx(variance, rel=0.05)


# The Gaussian with the optimal scale


def trained_on(errors: torch.Tensor, half_life: float = 1e9) -> OptimalGaussianLikelihood:
    """A likelihood that has seen one batch of pixels that were missed by so much."""
    likelihood = OptimalGaussianLikelihood(half_life)
    likelihood.log_prob(torch.zeros_like(errors), errors)
    likelihood.follow(len(errors))
    return likelihood


def test_optimal_scale_is_the_one_that_a_search_finds_likeliest():
    images, parameters = torch.rand(SHAPE), torch.rand(SHAPE)
    scales = torch.logspace(-2, 1, 3001).tolist()
    by_search = [GaussianLikelihood(scale, False).log_prob(parameters, images).sum().item() for scale in scales]
    found = OptimalGaussianLikelihood(1000).log_prob(parameters, images).sum().item()
    assert found == pytest.approx(max(by_search), abs=1e-2) and found >= max(by_search) - 1e-3
    best = scales[by_search.index(max(by_search))]
    assert (images - parameters).square().mean().sqrt().item() == pytest.approx(best, rel=2e-3)


def test_gradient_is_that_of_the_loss_with_the_scale_put_in():
    """−log p at the optimal scale is D/2 log MSE but for a constant: its gradient needs none through the scale."""
    images, parameters = torch.rand(SHAPE), torch.rand(SHAPE).requires_grad_()
    found = torch.autograd.grad(OptimalGaussianLikelihood(1000).log_prob(parameters, images).sum(), parameters)[0]
    put_in = -images.numel() / 2 * (images - parameters).square().mean().log()
    torch.testing.assert_close(found, torch.autograd.grad(put_in, parameters)[0])


def test_outside_training_the_scale_is_the_training_images_whatever_it_judges():
    errors = 0.2 * torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    likelihood = trained_on(errors).eval()
    scale = errors.square().mean().sqrt().item()
    images, parameters = torch.rand(SHAPE), torch.rand(SHAPE)
    before = {name: value.clone() for name, value in likelihood.state_dict().items()}
    found = likelihood.log_prob(parameters, images)
    torch.testing.assert_close(found, GaussianLikelihood(scale, False).log_prob(parameters, images), rtol=1e-3, atol=0)
    one_by_one = [likelihood.log_prob(parameters[i : i + 1], images[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(one_by_one), found)
    assert all(torch.equal(before[name], value) for name, value in likelihood.state_dict().items())


def test_weight_of_a_batch_in_the_scale_halves_with_every_half_life():
    likelihood = trained_on(torch.full((100, 1, 4, 4), 0.3), half_life=50)
    for error in (0.7, 0.1):  # of two judgements in one step the last counts, and one step's images
        likelihood.log_prob(torch.zeros(50, 1, 4, 4), torch.full((50, 1, 4, 4), error))
    likelihood.follow(50)
    likelihood.follow(50)  # there is nothing more to follow
    expected = (0.5 * 100 * 0.09 + 50 * 0.01) / (0.5 * 100 + 50)
    assert (likelihood.squared_errors / likelihood.pixels).item() == pytest.approx(expected, rel=0.01)


def test_optimal_scale_is_finite_for_images_that_are_hit_exactly():
    parameters = torch.zeros(SHAPE).requires_grad_()
    log_prob = OptimalGaussianLikelihood(1000).log_prob(parameters, torch.zeros(SHAPE)).sum()
    assert log_prob.isfinite() and torch.autograd.grad(log_prob, parameters)[0].isfinite().all()


def test_optimal_scale_travels_to_the_average_and_in_checkpoints():
    model = build("model=vae", "model/likelihood=gaussian_optimal")
    model.training_step((random_batch().images, None), 0)
    model.update_averages()
    saved = model.state_dict()
    averaged = model.eval().in_use(model.likelihood)
    assert averaged is not model.likelihood
    assert torch.equal(averaged.squared_errors, model.likelihood.squared_errors) and averaged.pixels > 64
    again = build("model=vae", "model/likelihood=gaussian_optimal", seed=1)
    again.load_state_dict(saved)
    batch = random_batch()
    weights = []
    for one in (model, again.eval()):
        torch.manual_seed(0)
        weights.append(one.log_importance_weights(batch, 4, 100))
    assert torch.equal(*weights)


@pytest.mark.parametrize("model", ["vae", "vaegan", "vqvae"])
def test_optimal_scale_follows_once_a_step_by_as_many_images_as_were_seen(model: str):
    built = build(f"model={model}", "model/likelihood=gaussian_optimal", "model.likelihood.half_life=4")
    if model == "vaegan":  # whose steps need a trainer; this is what each of them asks of the likelihood
        built.encoder_step = lambda real: (torch.zeros(len(real), 1), built.encoder_objective(real)[1])
        built.decoder_step = lambda real, z: (real, built.unexplained(real, torch.zeros_like(real.images)))
        built.discriminator_step = lambda real, fake: {}
    images = random_batch().images
    for _ in range(2):
        built.training_step((images, torch.zeros(len(images), dtype=torch.long)), 0)
    pixels = images.numel()
    assert built.likelihood.pixels.item() == pytest.approx(pixels * (1 + 0.5 ** (len(images) / 4)), rel=1e-3)


def test_optimal_scale_counts_the_images_of_an_importance_weighted_bound_once():
    built = build("model=vae", "model/likelihood=gaussian_optimal", "model.likelihood.half_life=4",
                  "model/objective=iwae", "model.objective.num_samples=3")  # fmt: skip
    images = random_batch().images
    for _ in range(2):
        built.training_step((images, None), 0)
    expected = 3 * images.numel() * (1 + 0.5 ** (len(images) / 4))
    assert built.likelihood.pixels.item() == pytest.approx(expected, rel=1e-3)


def test_optimal_scale_is_that_of_all_processes_batches(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = torch.full((2, 1, 4, 4), 0.1), torch.full((6, 1, 4, 4), 0.3)

    def add_theirs(totals: torch.Tensor) -> None:
        totals += torch.tensor([theirs.square().sum().item(), theirs.numel()])

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", add_theirs)
    likelihood = OptimalGaussianLikelihood(1000)
    found = likelihood.log_prob(torch.zeros_like(ours), ours)
    scale = ((2 * 0.1**2 + 6 * 0.3**2) / 8) ** 0.5
    torch.testing.assert_close(found, GaussianLikelihood(scale, False).log_prob(torch.zeros_like(ours), ours))
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    likelihood.follow(2)  # of each process
    assert likelihood.pixels.item() == pytest.approx(8 * 16, rel=1e-3)

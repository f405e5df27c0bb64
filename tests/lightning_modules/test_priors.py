"""Priors and KL divergences against closed forms and second implementations."""

from math import log, pi

import pytest
import torch
from conftest import TinyImages
from small_models import SHAPE, build, random_batch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, StudentT

from lightning_modules.priors import (
    FlowPrior,
    MixturePrior,
    Prior,
    StandardNormalPrior,
    VampPrior,
    diagonal_normal,
    kl,
    kl_by_dimension,
)
from lightning_modules.values import Batch


def no_posterior(batch: Batch) -> Independent:
    raise AssertionError("this prior has no need of the posterior")


def gaussian_log_density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log N(z; mean, diag(scale²)), summed over the last dimension."""
    return (-0.5 * ((z - mean) / scale).square() - scale.log() - 0.5 * log(2 * pi)).sum(-1)


def learned_mixture(latent_dim: int = 2, num_components: int = 3) -> MixturePrior:
    torch.manual_seed(0)
    prior = MixturePrior(latent_dim, num_components)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter)
    return prior


# The standard normal


def test_standard_normal_log_prob_is_the_density_summed_over_latents():
    z = torch.randn(5, 7)
    expected = -0.5 * z.square().sum(1) - 7 / 2 * log(2 * pi)
    torch.testing.assert_close(StandardNormalPrior(7).distribution(no_posterior).log_prob(z), expected)


def test_standard_normal_samples_have_its_moments():
    torch.manual_seed(0)
    z = StandardNormalPrior(3).distribution(no_posterior).sample((50_000,))
    assert z.shape == (50_000, 3)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=0.02, rtol=0)
    torch.testing.assert_close(z.T.cov(), torch.eye(3), atol=0.03, rtol=0)


# KL divergences


def test_standard_normal_kl_is_the_closed_form_and_zero_only_at_the_prior():
    mean, scale = torch.randn(5, 7), torch.rand(5, 7) + 0.1
    prior = StandardNormalPrior(7).distribution(no_posterior)
    by_dimension = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log())
    posterior = diagonal_normal(mean, scale)
    torch.testing.assert_close(kl_by_dimension(posterior, prior), by_dimension)
    torch.testing.assert_close(kl(posterior, prior, z=torch.full((5, 7), torch.nan)), by_dimension.sum(1))
    assert (by_dimension.sum(1) > 0).all()
    at_prior = diagonal_normal(torch.zeros(1, 7), torch.ones(1, 7))
    torch.testing.assert_close(kl(at_prior, prior, mean[:1]), torch.zeros(1))


def test_kl_without_a_closed_form_is_the_log_ratio_at_the_draw():
    prior = learned_mixture().distribution(no_posterior)
    mean, scale = torch.randn(5, 2), torch.rand(5, 2) + 0.1
    posterior = diagonal_normal(mean, scale)
    z = posterior.sample()
    assert kl_by_dimension(posterior, prior) is None
    expected = gaussian_log_density(z, mean, scale) - prior.log_prob(z)
    torch.testing.assert_close(kl(posterior, prior, z), expected)


def test_estimated_kl_averages_to_the_closed_form():
    one_component = MixtureSameFamily(
        Categorical(logits=torch.zeros(1)), Independent(Normal(torch.zeros(1, 4), torch.ones(1, 4)), 1)
    )
    torch.manual_seed(0)
    posterior = diagonal_normal(torch.full((50_000, 4), 0.7), torch.full((50_000, 4), 0.5))
    estimate = kl(posterior, one_component, posterior.sample())
    exact = kl(posterior, StandardNormalPrior(4).distribution(no_posterior), torch.zeros(4))
    assert estimate.mean().item() == pytest.approx(exact.mean().item(), abs=0.03)
    assert estimate.std() > 0.1  # it is an estimate, not the closed form in disguise


@torch.no_grad()
def test_objective_estimates_the_kl_at_the_very_draw_that_is_decoded():
    model = build("model=vae", "model/prior=mixture", "model.latent_dim=3")
    batch, decoded = random_batch(), []
    model.decoder.register_forward_pre_hook(lambda module, inputs: decoded.append(inputs[0]))
    terms = model.objective(batch)
    posterior, prior = model.posterior(batch), model.prior.distribution(model.posterior)
    expected = (posterior.log_prob(decoded[0]) - prior.log_prob(decoded[0])).mean()
    torch.testing.assert_close(terms["kl"], expected)
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - expected)


# The mixture of Gaussians


def test_mixture_log_prob_is_the_logsumexp_over_components():
    prior = learned_mixture()
    z = torch.randn(6, 2)
    components = gaussian_log_density(z.unsqueeze(1), prior.means, prior.log_scales.exp())  # (6, 3)
    expected = (prior.logits.log_softmax(0) + components).logsumexp(1)
    torch.testing.assert_close(prior.distribution(no_posterior).log_prob(z), expected)


@torch.no_grad()
def test_mixture_samples_have_its_moments():
    prior = learned_mixture()
    z = prior.distribution(no_posterior).sample((100_000,))
    share, means = prior.logits.softmax(0), prior.means
    mean = share @ means
    around = means - mean
    covariance = (share * around.T) @ around + (share @ (2 * prior.log_scales).exp()).diag()
    torch.testing.assert_close(z.mean(0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.T.cov(), covariance, atol=0, rtol=0.03)


@torch.no_grad()
def test_mixture_begins_near_the_standard_normal():
    torch.manual_seed(0)
    z = torch.randn(5000, 8)
    begun = MixturePrior(8, 20).distribution(no_posterior).log_prob(z)
    standard = StandardNormalPrior(8).distribution(no_posterior).log_prob(z)
    assert (standard - begun).mean().item() == pytest.approx(0.0, abs=0.1)  # KL(N(0, I) ‖ mixture), nats
    means = MixturePrior(8, 20).means
    assert len(means.unique(dim=0)) == 20  # components that are equal would never part


# The flow


def flow(latent_dim: int, begun: bool = True) -> FlowPrior:
    """As it begins, or with other weights."""
    torch.manual_seed(0)
    prior = FlowPrior(latent_dim, transforms=3, width=16, depth=2)
    for parameter in prior.parameters() if not begun else ():
        torch.nn.init.normal_(parameter, std=0.3)
    return prior


@pytest.mark.parametrize("latent_dim", [1, 2, 5, 64])
def test_flow_begins_as_the_standard_normal(latent_dim: int):
    z = 3 * torch.randn(100, latent_dim)
    begun = flow(latent_dim).distribution(no_posterior)
    standard = StandardNormalPrior(latent_dim).distribution(no_posterior)
    torch.testing.assert_close(begun.log_prob(z), standard.log_prob(z), rtol=1e-5, atol=1e-3)
    assert begun.sample((7,)).shape == (7, latent_dim) and begun.event_shape == (latent_dim,)


@torch.no_grad()
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_flows_density_integrates_to_one(latent_dim: int):
    axis = torch.linspace(-12, 12, 601)
    grid = torch.cartesian_prod(*[axis] * latent_dim).view(-1, latent_dim)
    density = flow(latent_dim, begun=False).distribution(no_posterior).log_prob(grid).exp()
    assert (density.sum() * (axis[1] - axis[0]) ** latent_dim).item() == pytest.approx(1, abs=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("latent_dim", [2, 20])
def test_flows_samples_are_of_its_density(latent_dim: int):
    """log p of a draw is log N(ε; 0, I) of its noise less the log volume by which autograd says that it was moved."""
    prior = flow(latent_dim, begun=False).distribution(no_posterior)
    torch.manual_seed(0)
    z = prior.sample((5,))
    torch.manual_seed(0)
    noise = prior.base.sample((5,))
    for one, begun in zip(z, noise, strict=True):
        with torch.enable_grad():
            jacobian = torch.autograd.functional.jacobian(prior.transform.inv, begun)
        torch.testing.assert_close(prior.transform.inv(begun), one, rtol=1e-4, atol=1e-4)
        expected = prior.base.log_prob(begun) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(prior.log_prob(one), expected, rtol=1e-3, atol=1e-3)


def test_elbo_trains_the_flow():
    model = build("model=vae", "model/prior=flow", "model.prior.width=8", "model/rate=constant")
    before = model.prior.distribution(model.posterior).log_prob(torch.ones(1, 64)).item()
    optimizer = model.configure_optimizers()
    for _ in range(3):
        optimizer.zero_grad()
        model.objective(random_batch())["loss"].backward()
        optimizer.step()
    assert model.prior.distribution(model.posterior).log_prob(torch.ones(1, 64)).item() != pytest.approx(before)
    assert all(parameter.grad.isfinite().all() for parameter in model.prior.parameters())
    assert model.networks["prior"] is model.prior


# VampPrior


class Marked(TinyImages):
    """Images by split: train's pixels are at most 99, val's 100 to 199, test's at least 200."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        lowest = {"train": 0, "val": 100, "test": 200}
        self._splits = {
            name: data._replace(images=data.images % (56 if name == "test" else 100) + lowest[name])
            for name, data in self._splits.items()
        }


def vamp(datamodule: TinyImages, num_components: int) -> VampPrior:
    return VampPrior(latent_dim=2, num_components=num_components, training_images=datamodule.training_images)


@pytest.mark.parametrize("num_components", [1, 5, 8])
def test_pseudo_inputs_begin_as_training_images_with_their_labels(num_components: int):
    datamodule = Marked(SHAPE)
    prior = vamp(datamodule, num_components)
    begun = prior.logits_of_pixels.sigmoid()
    assert begun.max() <= 99.5 / 255  # none of val or test
    train, labels = datamodule.split("train")
    distance = (begun.unsqueeze(1) * 255 - train).abs().flatten(2).amax(2)  # (K, images), grey levels
    nearest = distance.argmin(dim=1)
    assert distance.amin(dim=1).max() <= 0.01 * 255 + 0.01  # as near as a logit of at most ± 4.6 can be
    assert len(nearest.unique()) == num_components
    assert torch.equal(prior.labels, labels[nearest])


def test_vamp_prior_is_the_even_mixture_of_the_posteriors_at_its_pseudo_inputs():
    model = build("model=vae", "model/prior=vamp", "model.prior.num_components=5", "model.latent_dim=3")
    z = torch.randn(6, 3)
    mean, raw = model.encoder(model.prior.logits_of_pixels.sigmoid(), None).chunk(2, dim=1)  # (5, 3)
    components = gaussian_log_density(z.unsqueeze(1), mean, torch.log1p(raw.exp()) + 1e-4)  # (6, 5)
    expected = components.exp().mean(1).log()
    torch.testing.assert_close(model.prior.distribution(model.posterior).log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_conditional_vamp_prior_asks_for_posteriors_with_the_labels_of_its_pseudo_inputs():
    model = build("model=vae", "model/conditioning=label", "model/prior=vamp", "model.prior.num_components=5")
    components = model.prior.distribution(model.posterior).component_distribution
    expected = model.posterior(Batch(model.prior.logits_of_pixels.sigmoid(), model.prior.labels))
    torch.testing.assert_close(components.mean, expected.mean)


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        ("mixture", {"logits", "means", "log_scales"}),
        ("vamp", {"logits_of_pixels"}),
    ],
)
def test_elbo_trains_a_learned_prior(name: str, learned: set[str]):
    model = build("model=vae", f"model/prior={name}", "model.prior.num_components=5", "model/rate=constant")
    assert {key for key, _ in model.prior.named_parameters()} == learned
    before = {key: parameter.detach().clone() for key, parameter in model.prior.named_parameters()}
    optimizer = model.configure_optimizers()
    model.objective(random_batch())["loss"].backward()
    optimizer.step()
    for key, parameter in model.prior.named_parameters():
        assert not torch.equal(before[key], parameter), key
    assert model.networks["prior"] is model.prior


def test_a_prior_that_learns_nothing_is_no_network():
    assert set(build("model=vae").networks) == {"encoder", "decoder"}


@pytest.mark.parametrize("name", ["mixture", "vamp", "flow"])
def test_descending_the_kl_brings_a_learned_prior_to_the_posterior(name: str):
    torch.manual_seed(0)
    target = diagonal_normal(torch.full((64, 2), 2.0), torch.full((64, 2), 0.3))

    def two_pixels(batch: Batch) -> Independent:  # a posterior whose mean is what the pixels say
        return diagonal_normal(batch.images.flatten(1) * 4, torch.full((len(batch.images), 2), 0.3))

    prior: Prior = {
        "mixture": lambda: MixturePrior(2, 3),
        "vamp": lambda: vamp(TinyImages((1, 1, 2)), 3),
        "flow": lambda: FlowPrior(2, transforms=3, width=16, depth=1),
    }[name]()
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.05)
    for _ in range(300):
        loss = kl(target, prior.distribution(two_pixels), target.sample()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    many = diagonal_normal(torch.full((5000, 2), 2.0), torch.full((5000, 2), 0.3))
    left = kl(many, prior.distribution(two_pixels), many.sample()).mean()
    assert left.item() == pytest.approx(0.0, abs=0.03)


def test_factorised_prior_without_a_closed_kl_is_estimated_at_the_draw():
    posterior, z = diagonal_normal(torch.rand(5, 3), torch.rand(5, 3) + 0.5), torch.randn(5, 3)
    prior = Independent(StudentT(torch.full((3,), 4.0)), 1)
    assert kl_by_dimension(posterior, prior) is None
    torch.testing.assert_close(kl(posterior, prior, z), posterior.log_prob(z) - prior.log_prob(z))

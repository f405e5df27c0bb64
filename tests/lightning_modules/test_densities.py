"""Densities that a trained VAE's latents are drawn from: recovered moments, and when they are fitted."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TinyImages
from lightning import Trainer
from sklearn.mixture import GaussianMixture
from small_models import SHAPE, build, fit, random_batch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from callbacks.latent_fit import LatentFit
from lightning_modules import densities
from lightning_modules.densities import (
    Density,
    GaussianDensity,
    GaussianMixtureDensity,
    PriorDensity,
    mixture_log_prob,
)
from lightning_modules.priors import diagonal_normal
from lightning_modules.values import Batch, Latents

MEANS = torch.tensor([[-4.0, 0.0], [3.0, 2.0]])
COVARIANCES = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[0.3, -0.1], [-0.1, 0.2]]])
SHARES = torch.tensor([0.25, 0.75])
PRIOR = diagonal_normal(torch.full((2,), 100.0), torch.ones(2))  # far from anything that is fitted
SMALL_MIXTURE = ["model/density=gaussian_mixture", "model.density.num_components=2", "model.latent_dim=3"]


def known_mixture(n: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    component = torch.multinomial(SHARES, n, replacement=True, generator=generator)
    noise = torch.randn(n, 2, 1, generator=generator)
    return MEANS[component] + (torch.linalg.cholesky(COVARIANCES)[component] @ noise).squeeze(2)


def density(
    num_components: int | list[int] = 2, num_latents: int = 20_000, seed: int = 0, num_classes: int | None = None
) -> GaussianMixtureDensity:
    return GaussianMixtureDensity(2, num_classes, num_components, num_latents, 1e-4, 100, seed)


def fit_density(one: Density, parts: Iterable[Tensor], images_seen: int = 1, held_out: Tensor | None = None) -> None:
    one.fit(map(Latents, parts), [Latents(known_mixture(200, seed=2) if held_out is None else held_out)], images_seen)


@pytest.fixture(scope="module")
def fitted() -> GaussianMixtureDensity:
    one = density()
    fit_density(one, known_mixture(20_000).split(500))
    return one


def test_fit_recovers_a_known_mixture(fitted: GaussianMixtureDensity):
    order = fitted.means[:, 0].argsort()
    torch.testing.assert_close(fitted.log_weights[0].exp()[order], SHARES, atol=0.01, rtol=0)
    torch.testing.assert_close(fitted.means[order], MEANS, atol=0.05, rtol=0)
    covariances = fitted.scale_tril @ fitted.scale_tril.transpose(1, 2)
    torch.testing.assert_close(covariances[order], COVARIANCES, atol=0.05, rtol=0)


def test_samples_have_the_moments_of_what_was_fitted(fitted: GaussianMixtureDensity):
    torch.manual_seed(0)
    z = fitted.sample(50_000, PRIOR, None)
    data = known_mixture(50_000, seed=1)
    assert z.shape == (50_000, 2)
    torch.testing.assert_close(z.mean(0), data.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(z.T.cov(), data.T.cov(), atol=0.15, rtol=0)


def test_samples_are_not_grouped_by_component(fitted: GaussianMixtureDensity):
    torch.manual_seed(0)
    component = (fitted.sample(4000, PRIOR, None)[:, 0] > 0).float()
    neighbours = (component[1:] == component[:-1]).float().mean().item()
    assert neighbours == pytest.approx(0.25**2 + 0.75**2, abs=0.03)  # as of independent draws


def test_fit_depends_on_its_seed_and_data_alone():
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        one = density(num_components=5)
        fit_density(one, [known_mixture(500)])
        found.append(one.state_dict())
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    other = density(num_components=5, seed=3)
    fit_density(other, [known_mixture(500)])
    assert not torch.equal(other.means, found[0]["means"])


@pytest.mark.parametrize("num_latents", [250, 300])
def test_fit_takes_no_more_latents_than_it_asks_for(num_latents: int):
    made = []

    def latents() -> Iterator[Tensor]:
        for part in known_mixture(1000).split(100):
            made.append(len(part))
            yield part

    few, same = density(num_latents=num_latents), density(num_latents=20_000)
    fit_density(few, latents())
    assert sum(made) == 300
    fit_density(same, [known_mixture(1000)[:num_latents]])
    assert torch.equal(few.means, same.means)


def test_fewer_latents_than_components_are_fitted_by_as_many_components():
    one = density(num_components=6)
    data = known_mixture(4)
    fit_density(one, [data])
    torch.manual_seed(0)
    z = one.sample(500, PRIOR, None)
    assert torch.cdist(z, data).amin(dim=1).max() < 0.1  # each component is one latent


def test_unfitted_density_refuses_to_be_drawn_from():
    with pytest.raises(RuntimeError, match="a density is fitted before latents are drawn from it"):
        density().sample(1, PRIOR, None)


def test_fit_is_repeated_for_other_weights_alone(monkeypatch: pytest.MonkeyPatch):
    one, fits = density(), []
    original = GaussianMixture.fit
    monkeypatch.setattr(densities.GaussianMixture, "fit", lambda self, z: fits.append(len(z)) or original(self, z))
    for images_seen in (0, 0, 100, 100, 50):
        fit_density(one, [known_mixture(200)], images_seen)
    assert len(fits) == 3


def test_fit_draws_nothing_from_the_global_generators():
    for one in (density(), GaussianDensity(2, None, 500)):
        torch.manual_seed(0)
        np.random.seed(0)
        fit_density(one, [known_mixture(100)])
        found = torch.rand(3), np.random.rand(3)
        torch.manual_seed(0)
        np.random.seed(0)
        assert torch.equal(found[0], torch.rand(3)) and (found[1] == np.random.rand(3)).all()


def test_the_number_of_components_is_the_one_that_held_out_latents_find_likeliest():
    one = density(num_components=[1, 2, 60])
    assert one.name == "gaussian_mixture"
    fit_density(one, [known_mixture(200)])
    assert one.name == "gaussian_mixture of 2"
    alone = density(num_components=2)
    fit_density(alone, [known_mixture(200)])
    assert torch.equal(one.means[:2], alone.means)


def test_mixture_log_prob_is_that_of_torch_s_mixture(fitted: GaussianMixtureDensity):
    z = known_mixture(50, seed=3)
    components = MultivariateNormal(fitted.means, scale_tril=fitted.scale_tril)
    expected = MixtureSameFamily(Categorical(logits=fitted.log_weights[0]), components).log_prob(z)
    found = mixture_log_prob(fitted.log_weights.T, fitted.means, fitted.scale_tril, Latents(z))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_classes_weigh_the_components_as_their_latents_do():
    z, labels = known_mixture(20_000), torch.arange(20_000) % 2
    component = (z[:, 0] > 0).long()
    labels = torch.where(torch.rand(20_000, generator=torch.Generator().manual_seed(0)) < 0.8, component, 1 - component)
    one = density(num_classes=3)  # of the third there is none
    one.fit([Latents(z, labels)], [Latents(z[:500], labels[:500])], images_seen=1)
    order = one.means[:, 0].argsort()
    expected = torch.stack([component[labels == label].float().mean() for label in (0, 1)])
    torch.testing.assert_close(one.log_weights[:2, order[1]].exp(), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(one.log_weights[2, order].exp(), SHARES, atol=0.01, rtol=0)
    torch.manual_seed(0)
    asked = torch.tensor([0, 1, 2]).repeat(5000)
    drawn = (one.sample(15_000, PRIOR, asked)[:, 0] > 0).float()
    shares = torch.stack([drawn[asked == label].mean() for label in range(3)])
    torch.testing.assert_close(shares, torch.cat([expected, SHARES[1:]]), atol=0.025, rtol=0)


def test_dead_latents_leave_a_mixture_as_it_is():
    noise = torch.randn(20_000, 30, generator=torch.Generator().manual_seed(0))
    one = GaussianMixtureDensity(32, None, 2, 20_000, 1e-3, 100, seed=0)
    fit_density(one, [torch.cat([known_mixture(20_000), noise], dim=1)], held_out=torch.zeros(1, 32))
    order = one.means[:, 0].argsort()
    torch.testing.assert_close(one.log_weights[0].exp()[order], SHARES, atol=0.01, rtol=0)
    torch.testing.assert_close(one.means[order, :2], MEANS, atol=0.06, rtol=0)
    covariances = (one.scale_tril @ one.scale_tril.transpose(1, 2))[order]
    torch.testing.assert_close(covariances[:, :2, :2], COVARIANCES, atol=0.06, rtol=0)
    torch.testing.assert_close(covariances[:, 2:, 2:], torch.eye(30).repeat(2, 1, 1), atol=0.08, rtol=0)


# One Gaussian


def test_gaussian_has_the_moments_of_what_it_is_fitted_to():
    one, z = GaussianDensity(2, None, 20_000), known_mixture(20_000)
    fit_density(one, [z])
    torch.testing.assert_close(one.means[0], z.mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(one.scale_tril[0] @ one.scale_tril[0].T, z.T.cov(), atol=1e-3, rtol=1e-3)
    torch.manual_seed(0)
    drawn = one.sample(50_000, PRIOR, None)
    torch.testing.assert_close(drawn.mean(dim=0), z.mean(dim=0), atol=0.06, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), z.T.cov(), atol=0.15, rtol=0)


def test_gaussian_of_a_class_is_that_of_its_latents():
    one, z = GaussianDensity(2, 3, 20_000), known_mixture(20_000)
    labels = (z[:, 0] > 0).long()  # none of the third class
    one.fit([Latents(z, labels)], [Latents(z, labels)], images_seen=1)
    torch.testing.assert_close(one.means[:2], MEANS, atol=0.05, rtol=0)
    torch.testing.assert_close(one.means[2], z.mean(dim=0), atol=1e-5, rtol=0)
    covariances = one.scale_tril @ one.scale_tril.transpose(1, 2)
    torch.testing.assert_close(covariances[:2], COVARIANCES, atol=0.05, rtol=0)
    torch.testing.assert_close(covariances[2], torch.einsum("k,kij->ij", SHARES, COVARIANCES), atol=0.05, rtol=0)
    torch.manual_seed(0)
    drawn = one.sample(4000, PRIOR, torch.tensor([0, 1]).repeat(2000))
    assert (drawn[::2, 0] < 0).all() and (drawn[1::2, 0] > 0).float().mean() > 0.999


def test_prior_density_is_the_prior():
    one = PriorDensity(2, None)
    one.fit(iter([]), iter([]), images_seen=1)
    torch.manual_seed(0)
    z = one.sample(5, PRIOR, None)
    torch.manual_seed(0)
    assert torch.equal(z, PRIOR.sample((5,)))
    assert not one.state_dict()


# In the model


def test_model_draws_latents_from_its_density_and_says_so():
    model = build("model=vae", *SMALL_MIXTURE).eval()
    assert model.latents_from == "gaussian_mixture" and build("model=vanilla_vae").latents_from == "prior"
    with pytest.raises(RuntimeError, match="fit_latents"):
        model.sample_latents(4)
    model.density.means.fill_(50.0)
    model.density.log_weights.fill_(0.0)
    model.density.fitted_at.fill_(0)
    assert model.sample_latents(100).z.mean().item() == pytest.approx(50, abs=0.5)


@torch.no_grad()
def test_density_is_fitted_to_draws_from_the_posteriors_of_the_given_images():
    model = build("model=vae", *SMALL_MIXTURE, "model.density.num_components=1").eval()
    batch = random_batch(64)
    torch.manual_seed(0)
    model.fit_latents([batch] * 200, [batch])
    posterior = model.posterior(batch)
    torch.testing.assert_close(model.density.means[0], posterior.mean.mean(0), atol=0.05, rtol=0)
    variance = posterior.variance.mean(0) + posterior.mean.var(0, correction=0)  # of draws, not of means
    found = (model.density.scale_tril[0] @ model.density.scale_tril[0].T).diagonal()
    torch.testing.assert_close(found, variance, atol=0.02, rtol=0.03)


@torch.no_grad()
def test_nll_and_elbo_are_the_priors_whatever_the_density():
    model = build("model=vae", *SMALL_MIXTURE).eval()
    batch = random_batch(6)

    def measured() -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        return model.log_importance_weights(batch, 5, 100), model.objective(batch)["elbo"]

    before = measured()
    model.fit_latents([random_batch(50)], [random_batch(50)])
    after = measured()
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def test_fitted_density_is_in_the_checkpoint():
    model, other = build("model=vae", *SMALL_MIXTURE).eval(), build("model=vae", *SMALL_MIXTURE, seed=1).eval()
    model.fit_latents([random_batch(50)], [random_batch(50)])
    other.load_state_dict(model.state_dict())
    drawn = []
    for one in (model, other):
        torch.manual_seed(0)
        drawn.append(one.sample_latents(10).z)
    assert torch.equal(*drawn)


class ObservedFit(LatentFit):
    """Keeps what the model was given, and for which weights it was fitted."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.fitted_at: list[int] = []

    def fit(self, trainer: Trainer, model: Any) -> None:
        train: list[Batch] = []
        val: list[Batch] = []
        original = model.fit_latents

        def noted(batches: Iterable[Batch], into: list[Batch]) -> Iterator[Batch]:
            return (into.append(batch) or batch for batch in batches)

        model.fit_latents = lambda batches, held_out: original(noted(batches, train), noted(held_out, val))
        super().fit(trainer, model)
        model.fit_latents = original
        self.given = {"train": train, "val": val}
        self.fitted_at.append(int(model.density.fitted_at))


def test_density_is_fitted_to_train_and_val_when_val_is_due_and_at_the_end():
    model, datamodule, observed = build("model=vae", *SMALL_MIXTURE), TinyImages(SHAPE), ObservedFit()
    trainer = fit(model, datamodule, observed, max_epochs=5, check_val_every_n_epoch=2)
    assert observed.fitted_at == [16, 32, 40]  # images seen after epochs 2, 4 and 5, of 8 images each
    assert model.latents_are_fitted  # so samples can be drawn from what the run leaves
    given_at_the_end = observed.given
    trainer.test(model, datamodule=datamodule, verbose=False)
    assert not any(observed.given.values())  # the weights have not moved since
    for split, given in given_at_the_end.items():
        images = torch.cat([batch.images for batch in given])
        own, labels = datamodule.split(split)
        found = (images.unsqueeze(1) * 255 - own).abs().flatten(2).amax(2).argmin(1)  # (8,), indices into the split
        assert sorted(found.tolist()) == list(range(8))
        torch.testing.assert_close(images * 255, own[found].float())
        assert torch.equal(torch.cat([batch.labels for batch in given]), labels[found])


def test_fitting_changes_no_weight_and_no_random_draw():
    ends = []
    for callbacks in ([], [LatentFit(seed=0)]):
        model = build("model=vae", *SMALL_MIXTURE)
        torch.manual_seed(0)
        fit(model, None, *callbacks, max_epochs=3)
        ends.append([parameter.detach() for parameter in model.parameters()] + [torch.rand(3)])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))

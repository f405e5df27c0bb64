"""Likelihoods of unseen images: against closed forms, for any number of samples and any batch."""

import json
from math import log
from types import SimpleNamespace

import pytest
import torch
from conftest import TinyImages, composed
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from callbacks.figures import draw_kl
from callbacks.likelihood_scores import LikelihoodScores, log_likelihood, posterior_facts
from datamodules.image_datamodule import LabelledImages
from datamodules.pixels import to_unit_range
from jobs.building import build_model
from lightning_modules.likelihoods import GaussianLikelihood
from lightning_modules.values import Batch, Latents

SHAPE, PIXELS, LATENTS = (1, 4, 4), 16, 3
CPU = torch.device("cpu")


class LinearGaussian(nn.Module):
    """x = W z + b + σ ε with z ~ N(0, I): all that a VAE is asked for, exactly, with a posterior a little too wide."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = 0.2 * torch.randn(PIXELS, LATENTS, generator=generator)
        self.bias, self.scale = 0.5, 0.15
        self.likelihood = GaussianLikelihood(self.scale, learn_scale=False)

    def log_prob(self, images: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + self.scale**2 * torch.eye(PIXELS)
        return MultivariateNormal(torch.full((PIXELS,), self.bias), covariance).log_prob(images.flatten(1))

    def log_importance_weights(self, batch: Batch, num_samples: int, at_once: int) -> Tensor:
        images = batch.images
        precision = self.weight.T @ self.weight / self.scale**2 + torch.eye(LATENTS)
        mean = (images.flatten(1) - self.bias) @ self.weight / self.scale**2 @ precision.inverse()
        posterior = Normal(mean, 1.1 * precision.inverse().diagonal().sqrt())
        z = posterior.sample((num_samples,))
        decoded = (z @ self.weight.T + self.bias).view(num_samples, *images.shape)
        log_likelihoods = torch.stack([self.likelihood.log_prob(one, images) for one in decoded])
        return log_likelihoods + Normal(0, 1).log_prob(z).sum(2) - posterior.log_prob(z).sum(2)


def tiny_bytes(count: int) -> LabelledImages:
    images = torch.randint(60, 200, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return LabelledImages(images, torch.zeros(count, dtype=torch.long))


def batch_of(data: LabelledImages) -> Batch:
    return Batch(to_unit_range(data.images), data.labels)


def vae(*overrides: str):
    torch.manual_seed(0)
    return build_model(composed("model=vanilla_vae", "network=mlp", *overrides).model, TinyImages(SHAPE)).eval()


@torch.no_grad()
def test_nll_of_a_linear_gaussian_model_is_its_closed_form():
    model, data = LinearGaussian(), tiny_bytes(60)
    torch.manual_seed(0)
    found = log_likelihood(model, data, num_samples=1000, batch_size=5000, device=CPU).mean().item()
    assert found == pytest.approx(model.log_prob(to_unit_range(data.images)).mean().item(), rel=0.01)


@torch.no_grad()
def test_a_trained_kind_of_vae_has_the_closed_forms_importance_weights():
    """A real VAE whose networks are linear: its weights are log p(x, z) − log q(z|x), whatever q is."""
    model = vae("model.latent_dim=3", "network.encoder.depth=0", "network.decoder.depth=0", "model/likelihood=gaussian")
    batch = batch_of(tiny_bytes(400))
    decoder = next(module for module in model.decoder.modules() if isinstance(module, nn.Linear))
    scale = model.likelihood.log_scale.exp()
    covariance = decoder.weight @ decoder.weight.T + scale**2 * torch.eye(PIXELS)
    exact = MultivariateNormal(decoder.bias, covariance).log_prob(batch.images.flatten(1)).mean().item()
    torch.manual_seed(0)
    found = log_likelihood(model, tiny_bytes(400), num_samples=1000, batch_size=4000, device=CPU).mean().item()
    assert found == pytest.approx(exact, rel=0.01)
    elbo = float(model.objective(batch)["elbo"])
    assert elbo < found < exact + 0.01 * abs(exact)


@torch.no_grad()
def test_more_samples_never_loosen_the_bound():
    model = vae()
    torch.manual_seed(0)
    bounds = [log_likelihood(model, tiny_bytes(300), k, 4096, CPU).mean().item() for k in (1, 10, 100)]
    assert bounds == sorted(bounds) and bounds[2] - bounds[0] > 1e-3


@pytest.mark.parametrize(("num_samples", "batch_size"), [(1, 1), (7, 3), (7, 100), (64, 64), (10, 1)])
@torch.no_grad()
def test_any_number_of_samples_in_batches_of_any_size(num_samples: int, batch_size: int):
    model = vae()
    decoded = []
    model.in_use(model.decoder).register_forward_hook(lambda *call: decoded.append(len(call[2])))
    found = log_likelihood(model, tiny_bytes(5), num_samples, batch_size, CPU)
    assert found.shape == (5,) and found.isfinite().all()
    assert sum(decoded) == 5 * num_samples and max(decoded) <= max(batch_size, 1)


@torch.no_grad()
def test_weights_add_up_by_logsumexp():
    class Known:
        def log_importance_weights(self, batch: Batch, num_samples: int, at_once: int) -> Tensor:
            return torch.arange(float(num_samples))[:, None]

    found = log_likelihood(Known(), tiny_bytes(1), num_samples=10, batch_size=4, device=CPU)
    assert found.item() == pytest.approx(torch.arange(10.0).logsumexp(0).item() - log(10), rel=1e-6)


@torch.no_grad()
def test_prior_is_made_once_for_all_samples_of_an_image():
    """VampPrior's components are posteriors: a network's work, which many small parts of 5,000 draws share."""
    model, made = vae("model/prior=vamp", "model.prior.num_components=5"), []
    model.in_use(model.encoder).register_forward_hook(lambda *call: made.append(len(call[2])))
    log_likelihood(model, tiny_bytes(3), num_samples=5000, batch_size=500, device=CPU)
    assert sum(size == 5 for size in made) == 3 and len(made) == 6


@torch.no_grad()
def test_kl_by_dimension_adds_up_to_the_kl_of_the_objective():
    model, data = vae(), tiny_bytes(30)
    means, kl = posterior_facts(model, data, batch_size=7, device=CPU)
    assert kl.sum().item() == pytest.approx(float(model.objective(batch_of(data))["kl"]), rel=1e-5)
    torch.testing.assert_close(means, model.encode(batch_of(data)).z)


@torch.no_grad()
def test_a_prior_that_does_not_part_over_dimensions_has_no_kl_by_dimension():
    model = vae("model/prior=mixture")
    assert posterior_facts(model, tiny_bytes(4), batch_size=3, device=CPU)[1] is None


def test_run_records_likelihoods_with_their_protocol_and_draws_the_latents(train_in):
    run = train_in("run", "network=mlp", "model/likelihood=discretized_logistic", "callbacks.likelihood.num_images=30")
    record = json.loads((run / "metrics.json").read_text())
    nll, bits = record["scores"]["test/nll"], record["scores"]["test/bits_per_dim"]
    assert bits["value"] == pytest.approx(nll["value"] / (64 * log(2)))
    assert 0 < bits["value"] < 10
    assert nll["value"] < -record["test"]["test/elbo"] + 5
    protocol = record["protocols"][nll["protocol"]]
    assert protocol["num_images"] == 30 and protocol["importance_samples"] == 64
    assert nll["protocol"] != record["scores"]["test/fid_reference"]["protocol"]
    assert 0 <= record["scores"]["test/active_units"]["value"] <= 64
    assert len(record["kl_by_dimension"]) == 64
    assert (run / "pictures" / "charts" / "kl_by_dimension.png").is_file()


@pytest.mark.slow
def test_likelihoods_of_different_kinds_share_no_protocol(train_in):
    kinds = {}
    for likelihood in ("bernoulli", "gaussian", "discretized_logistic"):
        run = train_in(likelihood, "network=mlp", f"model/likelihood={likelihood}", "trainer.max_epochs=1")
        record = json.loads((run / "metrics.json").read_text())
        protocol = record["protocols"][record["scores"]["test/nll"]["protocol"]]
        kinds[record["scores"]["test/nll"]["protocol"]] = protocol["likelihood"]
        assert ("test/bits_per_dim" in record["scores"]) == (likelihood == "discretized_logistic")
    assert sorted(kinds.values()) == ["cross-entropy of grey levels", "density over [0, 1]", "mass over bytes"]


def scored(model, datamodule: TinyImages, **options) -> LikelihoodScores:
    """The scores of a test of the model, which nothing logs."""
    scores = LikelihoodScores(**({"num_images": None, "num_samples": 2, "batch_size": 50, "seed": 0} | options))
    trainer = SimpleNamespace(
        datamodule=datamodule, loggers=[], is_global_zero=False, training=False, testing=True, current_epoch=0,
        callbacks=[], callback_metrics={},
    )  # fmt: skip
    model.log_dict = lambda *_, **__: None
    scores.on_test_epoch_end(trainer, model)
    return scores


def test_images_are_drawn_from_the_whole_of_test(monkeypatch: pytest.MonkeyPatch):
    class Counted(TinyImages):
        num_test = 250

        def read(self):
            learn, test = super().read()
            test.images.copy_(torch.arange(250, dtype=torch.uint8).view(250, 1, 1, 1).expand_as(test.images))
            return learn, test

    datamodule = Counted(SHAPE)
    datamodule.setup()
    seen = []
    for _ in range(2):
        model = vae()
        infer = model.posterior
        model.posterior = lambda batch, infer=infer: seen.append(batch.images[:, 0, 0, 0]) or infer(batch)
        scored(model, datamodule, num_images=100, batch_size=100)
    numbers = [(images * 255).round() for images in seen]
    assert len(torch.cat(numbers).unique()) == 100
    assert 105 < torch.cat(numbers).mean() < 145
    assert {len(images) for images in numbers} == {50, 100}  # of 2 samples each, and their posteriors alone


def test_models_without_a_likelihood_are_passed_by(train_in):
    run = train_in("run", "model=gan", "network=mlp")
    record = json.loads((run / "metrics.json").read_text())
    assert not any("nll" in name for name in record["scores"])
    assert not (run / "pictures" / "charts" / "kl_by_dimension.png").exists()


def test_active_units_are_dimensions_whose_posterior_mean_moves():
    class Some(TinyImages):
        num_test = 50

    datamodule = Some(SHAPE)
    datamodule.setup()
    model = vae()
    spread = torch.zeros(64)
    spread[:5] = 0.5  # variance 0.25, above 0.01
    spread[5:9] = 0.05  # variance 0.0025, below
    drawn = torch.Generator().manual_seed(0)
    model.encode = lambda batch: Latents(torch.randn(len(batch.images), 64, generator=drawn) * spread)
    scores = scored(model, datamodule)
    assert scores.results["test/active_units"].value == 5
    assert "test/bits_per_dim" not in scores.results  # grey levels as a coin's probabilities are no bytes


def test_active_latents_are_those_that_carry_a_tenth_of_a_nat():
    """Beside them stands how many posterior means move at all, which are far more."""
    datamodule = TinyImages(SHAPE)
    datamodule.setup()
    model = vae("model.latent_dim=9")
    model.encode = lambda batch: Latents(torch.randn(len(batch.images), 9))
    model.kl_by_dimension = lambda batch: torch.tensor([2.0, 0.5, 0.11, 0.09, 0.01, 0, 0, 0, 0]).repeat(
        len(batch.images), 1
    )
    scores = scored(model, datamodule)
    assert list(scores.results) == ["test/nll", "test/active_latents", "test/active_units"]
    assert scores.results["test/active_latents"].value == 3 and scores.results["test/active_units"].value == 9
    mixture = scored(vae("model/prior=mixture"), datamodule)
    assert list(mixture.results) == ["test/nll", "test/active_units"]


def test_likelihoods_state_their_weights_and_that_they_are_the_priors():
    datamodule = TinyImages(SHAPE)
    datamodule.setup()
    averaged, raw = (scored(vae(*overrides), datamodule) for overrides in ([], ["model.ema_half_life=0"]))
    assert {score.weights for score in averaged.results.values()} == {"averaged (EMA)"}
    assert {score.weights for score in raw.results.values()} == {"raw"}
    assert averaged.results["test/nll"].latents == "prior" and averaged.results["test/active_latents"].latents is None


def test_likelihoods_are_computed_in_full_precision(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    datamodule, model, seen = TinyImages(SHAPE), vae(), set()
    datamodule.setup()
    weigh = model.log_importance_weights

    def watched(batch: Batch, num_samples: int, at_once: int) -> Tensor:
        seen.add((torch.is_autocast_enabled("cpu"), torch.backends.cudnn.allow_tf32))
        return weigh(batch, num_samples, at_once)

    model.log_importance_weights = watched
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scored(model, datamodule)
    assert seen == {(False, False)}


def test_kl_bars_stand_in_descending_order():
    (axes,) = draw_kl(torch.tensor([0.1, 3.0, 0.0, 1.0])).axes
    assert [round(bar.get_height(), 3) for bar in axes.patches] == [3.0, 1.0, 0.1, 0.0]

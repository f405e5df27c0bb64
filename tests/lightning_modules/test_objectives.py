"""Objectives: the ELBO and the importance-weighted bound, against each other and a known log p(x)."""

import pytest
import torch
from small_models import build, random_batch
from torch import nn
from torch.distributions import MultivariateNormal

from lightning_modules.values import Batch

LINEAR = ["network.encoder.depth=0", "network.decoder.depth=0", "model/likelihood=gaussian", "model.latent_dim=3"]


def iwae(num_samples: int, *overrides: str):
    return build("model=vanilla_vae", "model/objective=iwae", f"model.objective.num_samples={num_samples}", *overrides)


@torch.no_grad()
def mean_terms(model, batch: Batch, repeats: int = 400) -> dict[str, float]:
    torch.manual_seed(0)
    terms = [model.objective(batch) for _ in range(repeats)]
    return {name: torch.stack([one[name] for one in terms]).mean().item() for name in terms[0]}


@torch.no_grad()
@pytest.mark.parametrize("rate", ["constant", "warm_up", "free_bits", "capacity"])
def test_with_one_sample_and_an_estimated_kl_the_bound_is_the_elbo(rate: str):
    """Draw by draw: the weight is the log likelihood less the very estimate of the KL."""
    choices = ["model/prior=mixture", "model.prior.num_components=5", f"model/rate={rate}"]
    batch, terms = random_batch(), []
    for model in (iwae(1, *choices), build("model=vanilla_vae", *choices)):
        model.images_seen = 1000
        torch.manual_seed(0)
        terms.append(model.objective(batch))
    assert terms[0].keys() == terms[1].keys()
    for name, term in terms[0].items():
        torch.testing.assert_close(term, terms[1][name], rtol=1e-5, atol=1e-3)


def test_with_one_sample_and_a_closed_kl_the_bound_is_the_elbo_on_average():
    batch = random_batch()
    estimated, exact = mean_terms(iwae(1), batch), mean_terms(build("model=vanilla_vae"), batch)
    assert estimated["loss"] == pytest.approx(exact["loss"], abs=0.2)
    assert estimated["elbo"] == pytest.approx(exact["elbo"], abs=0.1)


def test_reported_terms_stay_the_elbos():
    batch = random_batch()
    tight, plain = mean_terms(iwae(20), batch), mean_terms(build("model=vanilla_vae"), batch)
    for name in ("elbo", "kl", "reconstruction"):
        assert tight[name] == pytest.approx(plain[name], abs=0.1), name
    assert tight["loss"] < plain["loss"] - 0.5


@torch.no_grad()
def test_bound_rises_with_its_samples_to_the_exact_log_likelihood():
    """A VAE whose networks are linear: p(x) is a Gaussian."""
    model, batch = build("model=vanilla_vae", *LINEAR), random_batch()
    decoder = next(module for module in model.decoder.modules() if isinstance(module, nn.Linear))
    noise = model.likelihood.log_scale.exp() ** 2 * torch.eye(64)
    exact = MultivariateNormal(decoder.bias, decoder.weight @ decoder.weight.T + noise)
    log_prob = exact.log_prob(batch.images.flatten(1)).mean().item()
    bounds = [-mean_terms(iwae(count, *LINEAR), batch, 20_000 // count)["loss"] for count in (1, 5, 50, 2000)]
    assert bounds == sorted(bounds) and bounds[1] > bounds[0] + 1
    assert bounds[-1] == pytest.approx(log_prob, rel=0.01)
    assert bounds[-1] - bounds[0] > 0.05 * abs(log_prob)  # it had some way to go


@torch.no_grad()
def test_loss_is_the_negative_bound_and_what_a_rate_asks_beyond_the_kl():
    batch, terms = random_batch(), []
    for beta in (1.0, 4.0):
        model = iwae(5, f"model.rate.beta={beta}")
        torch.manual_seed(0)
        terms.append(model.objective(batch))
    torch.testing.assert_close(terms[1]["loss"], terms[0]["loss"] + 3 * terms[0]["kl"])
    torch.manual_seed(0)
    weights = model.log_importance_weights(batch, 5, 1000)
    torch.testing.assert_close(terms[0]["loss"], -(weights.exp().mean(0).log()).mean(), rtol=1e-4, atol=1e-3)


def test_every_sample_of_every_image_is_decoded_with_its_label():
    model, decoded = iwae(3, "model/conditioning=label"), []
    model.decoder.register_forward_pre_hook(lambda module, inputs: decoded.append(inputs))
    batch = random_batch()
    model.objective(batch)
    ((z, labels),) = decoded
    assert len(z) == 3 * len(batch) and torch.equal(labels, batch.labels.repeat(3))

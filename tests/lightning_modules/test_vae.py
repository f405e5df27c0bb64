"""The VAE: its ELBO by hand, what it descends, and its encoder."""

import pytest
import torch
from conftest import PROJECT
from small_models import build, random_batch

from lightning_modules.generative_model import Encodes, HasLikelihood

LIKELIHOODS = sorted(path.stem for path in (PROJECT / "conf/model/likelihood").glob("[!_]*.yaml"))


def test_elbo_is_log_likelihood_minus_kl_summed_over_pixels_and_latents():
    model = build("model=vanilla_vae", "model.latent_dim=3").double()
    batch = random_batch(dtype=torch.float64)
    images = batch.images
    torch.manual_seed(1)
    terms = model.objective(batch)

    torch.manual_seed(1)
    mean, raw = model.encoder.network(images).chunk(2, dim=1)
    scale = torch.log1p(raw.exp()) + 1e-4
    z = mean + scale * torch.randn_like(scale)
    p = model.decoder.network(z).sigmoid()
    log_likelihood = (images * p.log() + (1 - images) * (1 - p).log()).sum(dim=(1, 2, 3))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * scale.log()).sum(dim=1)
    expected = {
        "elbo": (log_likelihood - kl).mean(),
        "reconstruction": -log_likelihood.mean(),
        "kl": kl.mean(),
        "loss": -(log_likelihood - kl).mean(),
    }
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_beta_vae_weighs_the_kl_in_the_loss_and_leaves_the_elbo_alone():
    terms = build("model=beta_vae", "model.rate.beta=4").objective(random_batch())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 4 * terms["kl"])
    torch.testing.assert_close(terms["elbo"], -terms["reconstruction"] - terms["kl"])


def test_posteriors_scale_is_never_zero():
    model = build("model=vanilla_vae")
    with torch.no_grad():
        model.encoder.network[-1].bias.fill_(-1e4)
    assert model.posterior(random_batch()).base_dist.scale.min().item() == pytest.approx(1e-4)


def test_encoding_is_the_posterior_mean():
    model, batch = build("model=vanilla_vae"), random_batch()
    assert torch.equal(model.encode(batch).z, model.posterior(batch).mean)


def test_vae_encodes_and_has_a_likelihood_and_gan_has_neither():
    assert isinstance(build("model=vanilla_vae"), HasLikelihood) and isinstance(build("model=vanilla_vae"), Encodes)
    assert not isinstance(build("model=gan"), Encodes | HasLikelihood)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_trains_the_vae(likelihood: str):
    model = build("model=vanilla_vae", f"model/likelihood={likelihood}")
    batch = random_batch()
    optimizer = model.configure_optimizers()

    def elbo() -> float:
        torch.manual_seed(0)
        return torch.stack([model.objective(batch)["elbo"].detach() for _ in range(20)]).mean().item()

    before = elbo()
    for _ in range(60):
        optimizer.zero_grad()
        model.objective(batch)["loss"].backward()
        optimizer.step()
    assert elbo() - before > 3  # nats per image, of 64 pixels


@torch.no_grad()
def test_importance_weights_are_log_joint_minus_log_posterior_of_each_draw():
    model = build("model=vanilla_vae", "model/prior=mixture", "model.latent_dim=3").eval()
    batch = random_batch(5)
    torch.manual_seed(0)
    found = model.log_importance_weights(batch, 7, 100)
    assert found.shape == (7, 5)
    torch.manual_seed(0)
    posterior, prior = model.posterior(batch), model.prior.distribution(model.posterior)
    for draw, weights in zip(posterior.sample((7,)), found, strict=True):
        log_likelihood = model.likelihood.log_prob(model.decoder(draw, None), batch.images)
        torch.testing.assert_close(weights, log_likelihood + prior.log_prob(draw) - posterior.log_prob(draw))

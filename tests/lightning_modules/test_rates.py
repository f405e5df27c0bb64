"""Rates against their formulas, and what of the VAE's terms they touch: the loss alone."""

import pytest
import torch
from small_models import build, random_batch
from torch import Tensor

from lightning_modules.rates import CapacityRate, ConstantRate, FreeBitsRate, WarmUpRate

KL = torch.tensor([[1.0, 0.0, 0.5], [3.0, 0.5, 0.5]])  # (B, D), nats
TOTAL = (1.5 + 4.0) / 2


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("images_seen", [0, 10**6])
def test_constant_rate_is_beta_times_the_mean_over_images_of_the_sum_over_latents(beta: float, images_seen: int):
    assert ConstantRate(beta)(KL, images_seen).item() == pytest.approx(beta * TOTAL)


@pytest.mark.parametrize(
    ("images_seen", "share"), [(0, 0.0), (250, 0.25), (500, 0.5), (999, 0.999), (1000, 1.0), (1001, 1.0), (10**6, 1.0)]
)
def test_warm_up_grows_linearly_from_zero_to_beta(images_seen: int, share: float):
    assert WarmUpRate(beta=2.0, images=1000)(KL, images_seen).item() == pytest.approx(2.0 * share * TOTAL)


def test_free_bits_are_counted_for_each_latent_on_average_over_images():
    # means over images: 2.0, 0.25, 0.5
    assert FreeBitsRate(beta=2.0, nats=0.3)(KL, 0).item() == pytest.approx(2 * (2.0 + 0.3 + 0.5))
    assert FreeBitsRate(beta=2.0, nats=0.0)(KL, 0).item() == pytest.approx(2 * TOTAL)


def test_free_bits_press_no_latent_below_its_allowance():
    kl = KL.clone().requires_grad_()
    FreeBitsRate(beta=2.0, nats=0.3)(kl, 0).backward()
    torch.testing.assert_close(kl.grad, torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]))  # β / B, or nothing


@pytest.mark.parametrize(
    ("images_seen", "capacity"), [(0, 0.0), (250, 1.25), (550, 2.75), (999, 4.995), (1000, 5.0), (10**6, 5.0)]
)
def test_capacity_grows_linearly_and_what_lies_off_it_is_paid(images_seen: int, capacity: float):
    rate = CapacityRate(beta=3.0, nats=5.0, images=1000)
    assert rate(KL, images_seen).item() == pytest.approx(3 * abs(TOTAL - capacity), rel=1e-4)


@pytest.mark.parametrize(("images_seen", "sign"), [(0, 1.0), (10**6, -1.0)])
def test_capacity_presses_the_kl_down_above_it_and_up_below(images_seen: int, sign: float):
    kl = KL.clone().requires_grad_()
    CapacityRate(beta=3.0, nats=5.0, images=1000)(kl, images_seen).backward()
    torch.testing.assert_close(kl.grad, torch.full((2, 3), sign * 3 / 2))


RATES = {
    "constant": (["model.rate.beta=3"], lambda kl: 3 * kl.sum(dim=1).mean()),
    "warm_up": (["model.rate.beta=3", "model.rate.images=200"], lambda kl: 1.5 * kl.sum(dim=1).mean()),
    "capacity": (
        ["model.rate.beta=3", "model.rate.nats=8", "model.rate.images=200"],
        lambda kl: 3 * (kl.sum(dim=1).mean() - 4).abs(),
    ),
    "free_bits": (["model.rate.beta=3", "model.rate.nats=0.2"], lambda kl: 3 * kl.mean(dim=0).clamp(min=0.2).sum()),
}


@pytest.mark.parametrize("name", RATES)
@torch.no_grad()
def test_rate_is_paid_in_the_loss_and_leaves_elbo_and_kl_alone(name: str):
    overrides, rate = RATES[name]
    model, plain = build("model=vae", f"model/rate={name}", *overrides), build("model=vae")
    model.images_seen = 100
    batch = random_batch()
    by_latent: Tensor = model.kl_by_dimension(batch)
    terms = []
    for one in (model, plain):
        torch.manual_seed(0)
        terms.append(one.objective(batch))
    for term in ("elbo", "kl", "reconstruction"):
        assert torch.equal(terms[0][term], terms[1][term]), term
    torch.testing.assert_close(terms[0]["loss"], terms[0]["reconstruction"] + rate(by_latent))
    torch.testing.assert_close(terms[0]["elbo"], -terms[0]["reconstruction"] - by_latent.sum(dim=1).mean())


@torch.no_grad()
@pytest.mark.parametrize("prior", ["standard_normal", "mixture"])
def test_free_bits_are_as_many_where_the_kl_does_not_part_by_latent(prior: str):
    choices = [f"model/prior={prior}", "model/rate=free_bits", "model.rate.nats=100", "model.latent_dim=7"]
    terms = build("model=vae", *choices).objective(random_batch())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 7 * 100)

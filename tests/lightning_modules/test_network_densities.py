"""Densities that are networks: shapes that no Gaussian has, labels, and nothing that a training would notice."""

from math import pi
from typing import Any

import pytest
import torch
from small_models import build, random_batch
from torch import Tensor

from lightning_modules.densities import Density, GaussianDensity
from lightning_modules.network_densities import FlowMatchingDensity, SecondStageDensity, SmallVAE
from lightning_modules.priors import diagonal_normal
from lightning_modules.values import Latents

PRIOR = diagonal_normal(torch.full((2,), 100.0), torch.ones(2))  # far from anything that is fitted
CHOICES = ["second_stage", "flow_matching"]


def network_density(choice: str, num_classes: int | None = None, num_steps: int = 500, seed: int = 0) -> Density:
    training: dict[str, Any] = {
        "width": 64, "depth": 2, "num_latents": 5000, "num_steps": num_steps, "batch_size": 256, "lr": 0.002,
        "ema_half_life": 30.0, "seed": seed,
    }  # fmt: skip
    if choice == "second_stage":
        return SecondStageDensity(2, num_classes, **training)
    return FlowMatchingDensity(2, num_classes, num_sampling_steps=20, **training)


def ring(n: int, seed: int = 0) -> Tensor:
    """A circle of radius 30 around (50, 0), not sharp."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * pi * torch.rand(n, generator=generator)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return 30 * circle + torch.randn(n, 2, generator=generator) + torch.tensor([50.0, 0.0])


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|x − y| − E|x − x'| − E|y − y'|, 0 for equal distributions alone (Székely & Rizzo 2013)."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def fitted(one: Density, z: Tensor, labels: Tensor | None = None) -> Density:
    latents = Latents(z, labels)
    one.fit([latents], [latents[:100]], images_seen=1)
    return one


def drawn(one: Density, n: int, labels: Tensor | None = None) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return one.sample(n, PRIOR, labels)


@pytest.mark.parametrize("choice", CHOICES)
def test_ring_is_drawn_far_better_than_by_one_gaussian(choice: str):
    data, other = ring(3000), ring(2000, seed=1)
    by_gaussian = energy_distance(drawn(fitted(GaussianDensity(2, None, 3000), data), 2000), other)
    found = drawn(fitted(network_density(choice), data), 2000)
    assert energy_distance(found, other) < by_gaussian / 4
    radius = (found - torch.tensor([50.0, 0.0])).norm(dim=1)
    assert radius.mean().item() == pytest.approx(30, abs=2) and ((radius > 20) & (radius < 40)).float().mean() > 0.9


@pytest.mark.parametrize("choice", CHOICES)
def test_latents_are_those_of_the_label(choice: str):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (3000,), generator=generator)
    centres = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 8.0]])
    z = centres[labels] + 0.5 * torch.randn(3000, 2, generator=generator)
    asked = torch.arange(3).repeat(300)
    found = drawn(fitted(network_density(choice, num_classes=3), z, labels), 900, asked)
    assert (torch.cdist(found, centres).argmin(dim=1) == asked).float().mean() > 0.98
    means = torch.stack([found[asked == label].mean(dim=0) for label in range(3)])
    torch.testing.assert_close(means, centres, atol=0.4, rtol=0)


@pytest.mark.parametrize("choice", CHOICES)
def test_fit_depends_on_its_seed_and_data_alone_and_draws_nothing_globally(choice: str):
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        expected = torch.rand(3)
        torch.manual_seed(global_seed)
        one = fitted(network_density(choice, num_steps=20), ring(500))
        assert torch.equal(torch.rand(3), expected)
        found.append(one.state_dict())
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    other = fitted(network_density(choice, num_steps=20, seed=3), ring(500)).state_dict()
    assert any(not torch.equal(other[key], found[0][key]) for key in other if key.startswith("network"))


@pytest.mark.parametrize("choice", CHOICES)
def test_second_fit_starts_anew(choice: str):
    one = network_density(choice, num_steps=20)
    fitted(one, ring(300, seed=5))
    one.fit([Latents(ring(500))], [Latents(ring(100))], images_seen=2)
    alone = fitted(network_density(choice, num_steps=20), ring(500)).state_dict()
    assert all(torch.equal(one.state_dict()[key], alone[key]) for key in alone if key != "fitted_at")


@pytest.mark.parametrize("choice", CHOICES)
def test_fit_in_inference_mode_is_the_same(choice: str):
    outside = fitted(network_density(choice, num_steps=20), ring(500))
    inside = network_density(choice, num_steps=20)
    with torch.inference_mode():
        fitted(inside, ring(500))
    assert all(torch.equal(inside.state_dict()[key], outside.state_dict()[key]) for key in outside.state_dict())


def test_flow_that_has_learned_nothing_leaves_noise_as_it_is():
    one = fitted(network_density("flow_matching", num_steps=1), ring(500))
    for parameter in one.parameters():
        parameter.zero_()
    found = (drawn(one, 20_000) - one.mean) / one.scale
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(found.T.cov(), torch.eye(2), atol=0.03, rtol=0)


def test_flow_follows_a_field_by_the_midpoint_rule():
    one = network_density("flow_matching")
    assert isinstance(one, FlowMatchingDensity)
    one.velocity = lambda x, t, classes: torch.full_like(x, 3 * t * t)
    torch.manual_seed(0)
    noise = torch.randn(5, 2)
    torch.manual_seed(0)
    moved = one.generate(torch.zeros(5, 0)) - noise
    # ∫ 3t² dt = 1 from 0 to 1; the midpoint rule falls short by h² / 4.
    torch.testing.assert_close(moved, torch.full((5, 2), 1 - 0.05**2 / 4), atol=1e-6, rtol=0)


def test_bound_of_the_second_stage_is_exact_where_its_decoder_looks_at_nothing():
    network = SmallVAE(dim=2, num_classes=0, width=4, depth=1)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)  # and a scale of 1
    with torch.no_grad():
        network.encoder.last[1].bias[2:] = torch.tensor(1.0).expm1().log()  # a posterior of N(0, I), but for 1e-4
        x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
        found = network.elbo(x, torch.zeros(6, 0))
    expected = diagonal_normal(torch.zeros(2), torch.ones(2)).log_prob(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("choice", CHOICES)
def test_model_neither_optimizes_nor_averages_its_density_and_its_weights_begin_the_same(choice: str):
    small = [f"model/density={choice}", "model.density.width=8", "model.density.num_steps=5", "model.latent_dim=3"]
    model, plain = build("model=vae", *small).eval(), build("model=vae", "model.latent_dim=3")
    own = {id(parameter) for parameter in model.density.parameters()}
    optimized = {id(one) for group in model.configure_optimizers().param_groups for one in group["params"]}
    assert own and not own & optimized and "density" not in model.averages
    start = plain.state_dict()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in start.items() if "density" not in name)
    with torch.no_grad():
        model.fit_latents([random_batch(50)], [random_batch(10)])
    assert not any(parameter.requires_grad for parameter in model.density.parameters())
    assert model.latents_from == f"{choice}, 5 steps"
    other = build("model=vae", *small, seed=1).eval()
    other.load_state_dict(model.state_dict())
    found = []
    for one in (model, other):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(one.sample_latents(10).z)
    assert torch.equal(*found)

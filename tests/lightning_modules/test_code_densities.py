"""Densities over codes: what they learn of which codes go together."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from lightning_modules.code_densities import AutoregressiveCodes, CodeDensity, IndependentCodes
from lightning_modules.values import Latents

PRIOR = Categorical(logits=torch.zeros(4))
NUM_CODES, LENGTH = 4, 6


def counting(n: int, seed: int = 0, labels: bool = False) -> Latents:
    """Codes that count up from a random first one, modulo 4; with labels, a label's codes begin with it."""
    first = torch.randint(NUM_CODES, (n,), generator=torch.Generator().manual_seed(seed))
    codes = (first.unsqueeze(1) + torch.arange(LENGTH)) % NUM_CODES
    return Latents(codes.view(n, 2, 3), first if labels else None)


def independent(num_classes: int | None = None) -> IndependentCodes:
    return IndependentCodes((2, 3), NUM_CODES, num_classes, num_latents=1000)


def autoregressive(num_classes: int | None = None, **changes: Any) -> AutoregressiveCodes:
    settings = {"width": 16, "num_steps": 200, "batch_size": 32, "lr": 0.02, "num_latents": 1000, "seed": 0} | changes
    return AutoregressiveCodes((2, 3), NUM_CODES, num_classes, **settings)


DENSITIES = [independent, autoregressive]


def fitted(density: CodeDensity, latents: Latents, held_out: Latents | None = None) -> CodeDensity:
    density.fit([latents], [held_out or counting(50, seed=1, labels=latents.labels is not None)], images_seen=1)
    return density


def counts_up(codes: Tensor) -> Tensor:
    flat = codes.flatten(1)
    return ((flat[:, 1:] - flat[:, :-1]) % NUM_CODES == 1).all(dim=1)


def every_code(length: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(NUM_CODES)] * length)


@pytest.mark.parametrize("make", DENSITIES)
def test_probabilities_of_all_codes_are_one_in_sum(make: Any):
    density = fitted(make(), counting(100))
    codes = every_code(LENGTH).view(-1, 2, 3)
    assert density.log_prob(Latents(codes)).logsumexp(dim=0).item() == pytest.approx(0, abs=1e-4)


def test_independent_codes_have_their_frequencies():
    codes = torch.tensor([[[0, 1, 2], [3, 3, 3]], [[0, 1, 2], [3, 3, 0]], [[0, 1, 1], [3, 3, 3]]])
    density = fitted(independent(), Latents(codes))
    found = density.log_shares.exp()[0]
    torch.testing.assert_close(found[0], (torch.tensor([3.0, 0, 0, 0]) + 0.25) / 4)
    torch.testing.assert_close(found[2], (torch.tensor([0.0, 1, 2, 0]) + 0.25) / 4)
    assert found[5, 3].item() == pytest.approx(2.25 / 4)


def test_autoregressive_codes_learn_a_deterministic_sequence_which_independent_ones_can_not():
    learned, simple = fitted(autoregressive(num_steps=500), counting(500)), fitted(independent(), counting(500))
    held_out = counting(100, seed=2)
    found, baseline = learned.log_prob(held_out).mean().item(), simple.log_prob(held_out).mean().item()
    assert found == pytest.approx(-math.log(NUM_CODES), abs=0.1)  # the first code is all that is random
    assert baseline == pytest.approx(-LENGTH * math.log(NUM_CODES), abs=0.1)
    torch.manual_seed(0)
    drawn = learned.sample(200, PRIOR, None)
    assert drawn.shape == (200, 2, 3) and counts_up(drawn).float().mean() > 0.95
    assert counts_up(simple.sample(200, PRIOR, None)).float().mean() < 0.05
    shares = torch.bincount(drawn[:, 0, 0], minlength=NUM_CODES) / 200
    torch.testing.assert_close(shares, torch.full((NUM_CODES,), 0.25), atol=0.12, rtol=0)


@torch.no_grad()
def test_samples_of_a_network_have_the_probabilities_that_it_states():
    density = AutoregressiveCodes((2,), NUM_CODES, None, 16, 10, 8, 0.01, 100, seed=3)
    density.network.logits.weight.mul_(5)  # far from even
    density.fitted_at.fill_(1)
    torch.manual_seed(0)
    drawn = density.sample(40_000, PRIOR, None)
    found = torch.bincount(drawn[:, 0] * NUM_CODES + drawn[:, 1], minlength=NUM_CODES**2) / 40_000
    expected = density.log_prob(Latents(every_code(2))).exp()
    assert expected.max() > 1.5 / NUM_CODES**2
    torch.testing.assert_close(found, expected, atol=0.008, rtol=0)


@pytest.mark.parametrize("make", DENSITIES)
def test_samples_have_the_labels_they_are_asked_for(make: Any):
    density = fitted(make(NUM_CODES), counting(500, labels=True))
    labels = torch.arange(NUM_CODES).repeat(25)
    torch.manual_seed(0)
    drawn = density.sample(100, PRIOR, labels)
    assert (drawn[:, 0, 0] == labels).float().mean() > 0.95
    held_out = counting(100, seed=2, labels=True)
    assert density.log_prob(held_out).mean().item() == pytest.approx(0, abs=0.15)


def test_fit_depends_on_its_seed_and_codes_alone_and_leaves_the_global_generator():
    found = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        expected = torch.rand(3)
        torch.manual_seed(global_seed)
        density = fitted(autoregressive(num_steps=20), counting(100))
        assert torch.equal(torch.rand(3), expected)
        found.append(density.state_dict())
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    other = fitted(autoregressive(num_steps=20, seed=1), counting(100)).state_dict()
    assert not torch.equal(found[0]["network.logits.weight"], other["network.logits.weight"])


def test_state_that_finds_held_out_codes_likeliest_is_kept():
    noise = torch.randint(
        NUM_CODES, (20, 2, 3), generator=torch.Generator().manual_seed(0)
    )  # which can be learned by heart
    few, held_out = Latents(noise), Latents(noise.flip(0).flip(2))
    density = fitted(autoregressive(num_steps=300, width=64, lr=0.005), few, held_out)
    assert density.log_prob(held_out).mean() > -LENGTH * math.log(NUM_CODES) - 1  # not at its end, which overfits
    forced = fitted(autoregressive(num_steps=300, width=64, lr=0.005), few, few)
    assert forced.log_prob(held_out).mean() < density.log_prob(held_out).mean() - 1


def test_codes_are_learned_from_in_inference_mode():
    density = autoregressive(num_steps=20)
    with torch.inference_mode():
        before = density.network.logits.weight.clone()
        fitted(density, counting(100))
        assert not torch.equal(before, density.network.logits.weight)
    assert not any(parameter.requires_grad for parameter in density.parameters())


@pytest.mark.parametrize("make", DENSITIES)
def test_fitted_codes_are_in_the_checkpoint(make: Any):
    density, other = fitted(make(), counting(100)), make()
    other.load_state_dict(density.state_dict())
    drawn = []
    for one in (density, other):
        torch.manual_seed(0)
        drawn.append(one.sample(10, PRIOR, None))
    assert torch.equal(*drawn)

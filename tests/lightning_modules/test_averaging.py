"""The moving average of weights: its formula, its clock of images, and when it is used, for every family."""

from typing import Any

import pytest
import torch
from conftest import TinyImages
from lightning import Callback
from small_models import SHAPE, build, fit, random_batch, same, weights
from torch import Tensor, nn

from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.values import Latents

AVERAGED = {"vanilla_vae": {"encoder", "decoder", "likelihood", "prior"}, "gan": {"generator"}}  # by model
MODELS = list(AVERAGED)
KEPT = ["model.ema_half_life=20", "model.ema_ramp_up=10"]
LEARNED_PARTS = {"vanilla_vae": ["model/prior=mixture", "model/likelihood=gaussian_learned"], "gan": []}


def constant(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


# The formula


def test_average_forgets_half_in_a_half_life_of_images():
    average = ExponentialMovingAverage(constant(1.0), half_life=100, ramp_up=1.0)
    average.update(constant(2.0), elapsed=50, images_seen=1000)
    assert average.module.weight.item() == pytest.approx(2 - 0.5**0.5)
    average.update(constant(2.0), elapsed=100, images_seen=1100)
    assert average.module.weight.item() == pytest.approx(2 - 0.5**1.5)


def test_average_over_many_small_steps_is_that_over_one_large_one():
    small, large = (ExponentialMovingAverage(constant(1.0), half_life=100, ramp_up=1.0) for _ in range(2))
    for step in range(10):
        small.update(constant(2.0), elapsed=10, images_seen=1000 + 10 * step)
    large.update(constant(2.0), elapsed=100, images_seen=1090)
    assert small.module.weight.item() == pytest.approx(large.module.weight.item(), rel=1e-6)


def test_half_life_ramps_up_so_that_short_runs_forget_their_start():
    average = ExponentialMovingAverage(constant(1.0), half_life=10_000, ramp_up=0.05)
    average.update(constant(2.0), elapsed=10, images_seen=200)  # a half-life of 10 images
    assert average.module.weight.item() == pytest.approx(1.5)


def test_half_life_of_zero_copies():
    average = ExponentialMovingAverage(constant(1.0), half_life=0, ramp_up=0.05)
    average.update(constant(2.0), elapsed=10, images_seen=10)
    assert average.module.weight.item() == 2.0


@pytest.mark.parametrize("replace", ["buffers", "parameters"])
def test_average_follows_what_took_the_place_of_a_networks_tensors(replace: str):
    """As moving it to a device does with buffers, and loading with `assign=True` with parameters."""
    network = nn.BatchNorm1d(2)
    average = ExponentialMovingAverage(network, half_life=1, ramp_up=0.0)
    average.update(network, elapsed=1, images_seen=1)
    if replace == "buffers":
        network.running_mean = torch.tensor([3.0, 4.0])
        average.module.running_var = torch.tensor([5.0, 6.0])
    else:
        network.load_state_dict(network.state_dict() | {"weight": torch.tensor([3.0, 4.0])}, assign=True)
    average.update(network, elapsed=1, images_seen=2)
    for ours, theirs in zip(average.module.state_dict().values(), network.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_buffers_are_copied():
    network = nn.BatchNorm1d(3)
    average = ExponentialMovingAverage(network, half_life=1e6, ramp_up=1.0)
    network(torch.randn(10, 3))
    average.update(network, elapsed=10, images_seen=10)
    assert network.num_batches_tracked == 1
    for ours, theirs in zip(average.module.buffers(), network.buffers(), strict=True):
        assert torch.equal(ours, theirs)


# The contract of GenerativeModel


@pytest.mark.parametrize("name", MODELS)
def test_every_family_keeps_averages_only_if_it_is_asked_to(name: str):
    kept, none = build(f"model={name}", *KEPT), build(f"model={name}", "model.ema_half_life=0")
    assert set(kept.averages) == AVERAGED[name] and kept.weights_used == "averaged (EMA)"
    assert not none.averages and none.weights_used == "raw"
    for attribute in AVERAGED[name]:
        assert none.in_use(getattr(none.eval(), attribute)) is getattr(none, attribute)


@pytest.mark.parametrize("name", MODELS)
def test_averaged_weights_begin_as_the_weights_and_are_not_trained_or_counted(name: str):
    model = build(f"model={name}", *KEPT, *LEARNED_PARTS[name])
    for attribute, average in model.averages.items():
        assert same(weights(average), getattr(model, attribute))
    averaged = {id(parameter) for parameter in model.averages.parameters()}
    assert averaged and not any(parameter.requires_grad for parameter in model.averages.parameters())
    counted = {id(parameter) for network in model.networks.values() for parameter in network.parameters()}
    optimizers = model.configure_optimizers()
    for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
        counted |= {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not averaged & counted


@pytest.mark.parametrize("name", MODELS)
def test_averages_are_in_use_outside_training_only(name: str):
    model = build(f"model={name}", *KEPT, *LEARNED_PARTS[name])
    for attribute in AVERAGED[name]:
        network = getattr(model, attribute)
        assert model.train().in_use(network) is network
        assert model.eval().in_use(network) is model.averages[attribute].module
    if name == "gan":
        assert model.in_use(model.discriminator) is model.discriminator


@torch.no_grad()
def test_gan_decodes_with_its_average_outside_training():
    model = build("model=gan", *KEPT)
    fit(model)
    latents = model.sample_latents(4)
    raw = (model.generator(latents.z, None).tanh() + 1) / 2
    averaged = (model.averages["generator"].module(latents.z, None).tanh() + 1) / 2
    torch.testing.assert_close(model.train().decode(latents), raw)
    torch.testing.assert_close(model.eval().decode(latents), averaged)
    assert (raw - averaged).abs().max() > 1e-3


@torch.no_grad()
def test_vae_encodes_decodes_draws_and_measures_with_its_averages_outside_training():
    model = build(
        "model=vanilla_vae", *KEPT, *LEARNED_PARTS["vanilla_vae"], "model.latent_dim=3", "model.optimizer.lr=0.05"
    ).eval()
    plain = build(
        "model=vanilla_vae", *LEARNED_PARTS["vanilla_vae"], "model.latent_dim=3", "model.ema_half_life=0"
    ).eval()
    for attribute in AVERAGED["vanilla_vae"]:
        for parameter in getattr(model, attribute).parameters():
            parameter.add_(100.0)  # raw weights that would be noticed, whichever is used
        getattr(plain, attribute).load_state_dict(model.averages[attribute].module.state_dict())
    batch, z = random_batch(), torch.randn(4, 3)
    methods = {
        "encode": lambda one: one.encode(batch).z,
        "decode": lambda one: one.decode(Latents(z)),
        "sample_latents": lambda one: one.sample_latents(5).z,
        "log_importance_weights": lambda one: one.log_importance_weights(batch, 3, 100),
        "objective": lambda one: one.objective(batch)["elbo"],
    }
    for method, call in methods.items():
        results = []
        for one in (model, plain):
            torch.manual_seed(0)
            results.append(call(one))
        torch.testing.assert_close(*results, msg=lambda text, method=method: f"{method}: {text}")


# The clock


class Elapsed(Callback):
    """Notes each update of an average: images since the last one, and images seen."""

    def __init__(self, model: Any) -> None:
        self.updates: list[tuple[int, int]] = []
        self.followed: list[list[Tensor]] = []
        for attribute, average in model.averages.items():
            average.update = self.noting(average.update, first=attribute == next(iter(model.averages)))

    def noting(self, update, first: bool):
        def noted(network: nn.Module, elapsed: int, images_seen: int) -> None:
            if first:
                self.updates.append((elapsed, images_seen))
                self.followed.append(weights(network))
            update(network, elapsed, images_seen)

        return noted


@pytest.mark.parametrize("name", MODELS)
def test_average_follows_each_batch_by_its_own_images(name: str):
    model = build(f"model={name}", *KEPT)
    elapsed = Elapsed(model)
    fit(model, TinyImages(SHAPE, batch_size=3), max_epochs=2)  # of 8 images: batches of 3, 3 and 2
    assert elapsed.updates == [(3, 3), (3, 6), (2, 8), (3, 11), (3, 14), (2, 16)]


@pytest.mark.parametrize("name", MODELS)
def test_average_follows_the_weights_that_the_step_has_just_made(name: str):
    model = build(f"model={name}", *KEPT)
    elapsed = Elapsed(model)
    fit(model, max_epochs=3)
    attribute = next(iter(model.averages))
    assert same(elapsed.followed[-1], getattr(model, attribute))
    assert not any(same(earlier, getattr(model, attribute)) for earlier in elapsed.followed[:-1])


def test_average_follows_at_the_generators_steps_by_the_images_of_n_critic_batches():
    model = build("model=gan", *KEPT, "model.n_critic=3")
    elapsed = Elapsed(model)
    fit(model, TinyImages(SHAPE, batch_size=2), max_epochs=3)  # 12 batches of 2, in epochs of 4
    assert elapsed.updates == [(6, 6), (6, 12), (6, 18), (6, 24)]


@pytest.mark.parametrize("n_critic", [1, 3])
def test_averaged_weights_are_the_formulas_from_the_weights_of_each_step(n_critic: int):
    """By hand: w̄ ← w + (w̄ − w) · 0.5^(elapsed / half-life), the half-life being at most 10 times the images seen."""
    model = build("model=gan", f"model.n_critic={n_critic}", "model.ema_half_life=20", "model.ema_ramp_up=1")
    expected = weights(model.generator)
    elapsed = Elapsed(model)
    fit(model, TinyImages(SHAPE, batch_size=2), max_epochs=3)
    images = 2 * n_critic
    assert len(elapsed.followed) == 12 // n_critic
    for update, step in enumerate(elapsed.followed, start=1):
        share = 0.5 ** (images / min(20, update * images))
        expected = [new + (old - new) * share for old, new in zip(expected, step, strict=True)]
    for found, wanted in zip(model.averages["generator"].module.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_hold_the_averages_and_their_clock(name: str):
    model = build(f"model={name}", *KEPT)
    model.images_seen, checkpoint = 30, {"epoch": 4}
    model.update_averages()
    model.images_seen = 34  # of which the averages know nothing yet
    model.on_save_checkpoint(checkpoint)
    assert checkpoint["averaged_until"] == 30 and checkpoint["images_seen"] == 34
    resumed = build(f"model={name}", *KEPT, seed=1)
    resumed.load_state_dict(model.state_dict())
    resumed.on_load_checkpoint(checkpoint)
    for attribute, average in model.averages.items():
        assert same(weights(average), resumed.averages[attribute])
    elapsed = Elapsed(resumed)
    resumed.images_seen = 40
    resumed.update_averages()
    assert elapsed.updates == [(10, 40)]

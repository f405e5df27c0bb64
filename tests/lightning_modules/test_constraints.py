"""Constraints on the discriminator: its layers' largest singular values, and its weights' bounds."""

import pytest
import torch
from lightning import Callback
from small_models import build, fit, random_batch, same, weights
from torch import nn

from lightning_modules.constraints import CONSTRAINED, NoConstraint, SpectralNorm, WeightClipping

NETWORKS = {
    "mlp": ["network=mlp"],
    "conv": ["network=conv", "network.encoder.width=2", "network.decoder.width=2"],
    "fixup": ["network=fixup", "network.encoder.width=2", "network.decoder.width=2"],
    "resnet": ["network=resnet", "network.encoder.width=2", "network.decoder.width=2"],
}


def singular_values(network: nn.Module) -> list[float]:
    """The largest one of each layer, a convolution's kernel being a matrix with a row for each output."""
    layers = [layer for layer in network.modules() if isinstance(layer, CONSTRAINED)]
    return [torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() for layer in layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_constrained_layers_have_a_largest_singular_value_of_one(name: str):
    model = build("model=gan", "model/constraint=spectral_norm", *NETWORKS[name])
    for seed in range(200):  # each forward pass in training is a step of power iteration
        model.discriminator(random_batch(2, seed).images, None)
    values = singular_values(model.discriminator)
    assert len(values) >= 3
    assert values == pytest.approx([1.0] * len(values), abs=1e-3)


def test_the_generator_and_unconstrained_discriminators_are_free():
    constrained, free = (build("model=gan", f"model/constraint={name}") for name in ("spectral_norm", "none"))
    for network in (constrained.generator, free.discriminator):
        assert not any(nn.utils.parametrize.is_parametrized(layer) for layer in network.modules())
        assert max(abs(value - 1) for value in singular_values(network)) > 0.05


def test_layers_without_a_matrix_are_left_as_they_are():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(), nn.Flatten(), nn.Linear(16, 1))
    SpectralNorm(power_iterations=1)(network)
    assert [nn.utils.parametrize.is_parametrized(layer) for layer in network] == [True, False, False, False, True]
    assert not nn.utils.parametrize.is_parametrized(network[0], "bias")


def test_more_power_iterations_come_closer_in_one_pass():
    errors = []
    for iterations in (1, 30):
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Linear(40, 30))
        SpectralNorm(iterations)(layer)
        layer[0].parametrizations.weight.original.data.normal_()  # what was estimated before is of no use
        layer(torch.randn(1, 40))
        errors.append(abs(singular_values(layer)[0] - 1))
    assert errors[1] < 1e-3 < 0.02 < errors[0]


def test_evaluation_changes_no_estimate():
    model = build("model=gan", "model/constraint=spectral_norm").eval()
    before = {name: buffer.clone() for name, buffer in model.discriminator.named_buffers()}
    logits = model.discriminator(random_batch().images, None)
    assert before and all(torch.equal(before[name], buffer) for name, buffer in model.discriminator.named_buffers())
    assert torch.equal(model.discriminator(random_batch().images, None), logits)


def test_constraint_holds_after_training_and_in_a_checkpoint():
    model = build("model=gan", "model/constraint=spectral_norm", "model.discriminator_optimizer.lr=0.01")
    fit(model, max_epochs=20, limit_val_batches=0)
    values = singular_values(model.eval().discriminator)
    assert values == pytest.approx([1.0] * len(values), abs=0.1)  # power iteration runs after the weights
    other = build("model=gan", "model/constraint=spectral_norm", seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval().critic(random_batch()), model.critic(random_batch()))


def test_layer_that_starts_at_zero_starts_elsewhere_under_the_constraint():
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    nn.init.zeros_(network[1].weight)
    SpectralNorm(power_iterations=1)(network)
    assert singular_values(network)[1] == pytest.approx(1, abs=1e-3)
    assert network(torch.rand(5, 4)).isfinite().all()


def test_no_constraint_changes_nothing():
    network = nn.Linear(3, 2)
    names, before = list(network.state_dict()), weights(network)
    NoConstraint()(network)
    NoConstraint().project(network)
    assert list(network.state_dict()) == names and same(before, network)


def test_a_step_leaves_what_spectral_norm_divides():
    model = build("model=gan", "model/constraint=spectral_norm")
    before = weights(model.discriminator)
    model.constraint.project(model.discriminator)
    assert same(before, model.discriminator)


def test_weights_beyond_the_bound_are_set_to_it_and_others_stay():
    network = nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-2.0, 0.125, 0.75]]))
        network.bias.fill_(3.0)
    WeightClipping(bound=0.5).project(network)
    assert network.weight.tolist() == [[-0.5, 0.125, 0.5]] and network.bias.item() == 0.5


class LargestWeights(Callback):
    """Keeps the largest weight of each network after every batch."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {"generator": [], "discriminator": []}

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        for name, values in self.seen.items():
            values.append(max(p.abs().max().item() for p in pl_module.networks[name].parameters()))


@pytest.mark.parametrize("name", NETWORKS)
def test_all_weights_are_within_the_bound_when_built_and_after_every_step(name: str):
    model = build("model=gan", "model/constraint=weight_clipping", "model.constraint.bound=0.03", *NETWORKS[name])
    largest = LargestWeights()
    largest.on_train_batch_end(None, model)
    fit(model, None, largest, max_epochs=3)
    bound = torch.tensor(0.03).item()  # in float32
    assert largest.seen["discriminator"] == [bound] * 7  # some are at it
    assert min(largest.seen["generator"]) > 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_every_step_of_the_discriminator_is_projected_once(steps: int):
    model = build("model=gan", f"model.n_critic={steps}")
    projected: list[nn.Module] = []
    model.constraint.project = projected.append
    fit(model, max_epochs=3)
    assert projected == [model.discriminator] * 6

"""A budget of parameters: the widest network within it, and what is refused."""

from functools import partial

import pytest
import torch
from conftest import TinyImages, composed
from hydra.utils import instantiate
from small_models import build
from torch import nn

from foundation.errors import ConfigError
from jobs.building import build_model
from jobs.config_check import check
from lightning_modules.networks.budget import widened, widest, within_budget

NETWORKS = ["mlp", "conv", "resnet", "fixup"]
SHAPES = [(1, 8, 8), (3, 28, 33)]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def direct(network: partial, *sizes) -> nn.Module:
    return network(*sizes)


def square(width: int) -> nn.Linear:
    return nn.Linear(width, width, bias=False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("role", ["encoder", "decoder"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_within_the_budget_and_one_wider_is_beyond_it(name: str, role: str, shape: tuple[int, int, int]):
    factory = instantiate(composed(f"network={name}").network[role], _convert_="all")
    for budget in (60_000, 1.5e6):
        network = within_budget(budget, direct, factory, shape, 10)
        width = next(w for w in range(1, 5000) if count(factory(shape, 10, width=w)) == count(network))
        assert count(network) <= budget < count(factory(shape, 10, width=width + 1))


@pytest.mark.parametrize(("budget", "width"), [(1, 1), (3, 1), (4, 2), (99, 9), (100, 10), (101.5, 10), (1e6, 1000)])
def test_widest_is_exact(budget: float, width: int):
    network = within_budget(budget, direct, partial(square, width=7))
    assert network.in_features == width


def test_widths_of_a_list_keep_their_proportions():
    factory = partial(dict, width=[1024, 512, 256])
    assert widened(factory, 1024)()["width"] == [1024, 512, 256]
    assert widened(factory, 100)()["width"] == [100, 50, 25]
    assert widened(factory, 1)()["width"] == [1, 1, 1]


def test_network_whose_width_changes_nothing_is_taken_as_it_is():
    factory = instantiate(composed("network=mlp", "network.encoder.depth=0").network.encoder)
    assert count(within_budget(1e6, direct, factory, (1, 8, 8), 3)) == 64 * 3 + 3
    assert widest(lambda width: 5, 9) >= 1


def test_without_a_budget_the_network_is_as_wide_as_it_says():
    assert within_budget(None, direct, partial(square, width=7)).in_features == 7


def test_search_draws_no_random_number():
    weights = []
    for budget in (None, 49):  # the search, too, ends at a width of 7
        torch.manual_seed(0)
        weights.append(within_budget(budget, direct, partial(square, width=7)).weight)
    assert torch.equal(*weights)


def test_budget_below_the_smallest_network_is_refused_with_its_count():
    factory = instantiate(composed("network=conv").network.encoder)
    smallest = count(factory((1, 28, 28), 10, width=1))
    with pytest.raises(ConfigError, match=rf"conv\.Encoder has at least {smallest:,} parameters here, got 100\."):
        within_budget(100, direct, factory, (1, 28, 28), 10)
    assert count(within_budget(smallest, direct, factory, (1, 28, 28), 10)) == smallest


def test_network_without_a_width_is_refused():
    with pytest.raises(ConfigError, match=r"linear\.Linear has no width"):
        within_budget(100, direct, partial(nn.Linear, in_features=3), 2)


@pytest.mark.parametrize("conditioning", ["none", "label"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("model", ["vae", "gan"])
def test_every_role_is_within_the_budget_with_its_labels(model: str, network: str, conditioning: str):
    """Embeddings of labels count: sizes are of what a record states."""
    cfg = composed(
        f"model={model}", f"network={network}", f"model/conditioning={conditioning}", "network.parameters=1.5e6"
    )
    check(cfg)
    for role, built in build_model(cfg.model, TinyImages((1, 28, 28))).networks.items():
        assert 0.93 * 1.5e6 < count(built) <= 1.5e6, role


def test_budget_wins_over_a_width_that_is_given():
    small, large = (build("model=gan", "network.parameters=30000", f"network.encoder.width={w}") for w in (2, 300))
    assert count(small.discriminator) == count(large.discriminator)


@pytest.mark.parametrize("value", ["0", "true", "'1.5e6'", "-1e6"])
def test_budget_that_is_no_number_of_parameters_is_refused(value: str):
    with pytest.raises(ConfigError, match=r"^network\.parameters: expected"):
        check(composed(f"network.parameters={value}"))


def test_budget_is_refused_where_a_model_would_not_look_at_it():
    with pytest.raises(ConfigError, match=r"^network\.parameters: model=classifier takes its networks as wide as"):
        check(composed("model=classifier", "network.parameters=1e5"))

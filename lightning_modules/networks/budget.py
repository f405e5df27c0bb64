"""The width of a network for a budget of parameters, so that families are compared at equal size."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from foundation.errors import ConfigError


def within_budget(
    parameters: float | None, build: Callable[..., nn.Module], network: Callable[..., nn.Module], *sizes: Any
) -> nn.Module:
    """`build(network, *sizes)`, the network at its largest width with which the whole has at most `parameters`.

    None: the network as wide as it is. Raises ConfigError, naming the fewest possible, if there is no such width.
    """
    if parameters is None:
        return build(network, *sizes)

    def count(width: int) -> int:
        with torch.device("meta"):  # shapes without memory or random draws
            return sum(parameter.numel() for parameter in build(widened(network, width), *sizes).parameters())

    if count(1) > parameters:
        raise ConfigError(
            f"network.parameters: {name_of(network)} has at least {count(1):,} parameters here, got {parameters:,.0f}. "
            "Give more, or null, or choose another network="
        )
    return build(widened(network, widest(count, parameters)), *sizes)


def widened(network: Callable[..., nn.Module], width: int) -> Callable[..., nn.Module]:
    """The network with this `width`; of a list of widths this is the largest, and the others are in proportion.

    Raises ConfigError if it has no width.
    """
    own = network.keywords.get("width") if isinstance(network, partial) else None
    if own is None:
        raise ConfigError(f"network.parameters: {name_of(network)} has no width that could be chosen; leave it null")
    if isinstance(own, Sequence):
        return partial(network, width=[max(1, round(each * width / max(own))) for each in own])
    return partial(network, width=width)


def widest(count: Callable[[int], int], limit: float) -> int:
    """The largest width with count(width) ≤ limit, where `count` never falls and count(1) is within the limit."""
    top = 2
    while count(top) <= limit and count(top) > count(top // 2):  # a network without hidden layers does not grow
        top *= 2
    return bisect_right(range(1, top + 1), limit, key=count)


def name_of(network: Callable[..., nn.Module]) -> str:
    """As `conv.Encoder`."""
    made = network.func if isinstance(network, partial) else network
    return f"{made.__module__.rpartition('.')[2]}.{made.__qualname__}"

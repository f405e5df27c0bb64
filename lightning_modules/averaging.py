"""Exponential moving average of weights, on the clock of images seen (as in EDM, Karras et al. 2022)."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn


class ExponentialMovingAverage(nn.Module):
    """A frozen copy of a network whose weights follow it with a half-life counted in images; buffers are copied.

    Early in training the half-life is `ramp_up` times the images seen, so that short runs forget their
    random start too.
    """

    # torch's AveragedModel reads its counter from the device at each step, for which a GPU has to be waited for.

    def __init__(self, network: nn.Module, half_life: float, ramp_up: float) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up
        self._followed: Followed | None = None

    @torch.no_grad()
    def update(self, network: nn.Module, elapsed: int, images_seen: int) -> None:
        """Follow the network, `elapsed` images after the last update and `images_seen` after the start."""
        half_life = min(self.half_life, self.ramp_up * images_seen)
        decay = 0.5 ** (elapsed / half_life) if half_life > 0 else 0.0
        if self._followed is None or not self._followed.is_of(network):
            self._followed = Followed.of(self.module, network)
        if self._followed.ours:
            torch._foreach_lerp_(self._followed.ours, self._followed.theirs, 1 - decay)
        for copies, originals in self._followed.with_buffers:
            for copy, buffer in zip(copies.buffers(recurse=False), originals.buffers(recurse=False), strict=True):
                copy.copy_(buffer)


class Followed(NamedTuple):
    """The tensors of an average and of what it follows, in pairs. Found once: of a small network the search takes
    a twentieth of a step. Moving a network to a device leaves its parameters the same objects, and replaces buffers.
    """

    network: nn.Module
    ours: list[Tensor]
    theirs: list[Tensor]
    firsts: list[tuple[nn.Module, str, Tensor]]  # the first parameter of each, with the module that owns it
    with_buffers: list[tuple[nn.Module, nn.Module]]  # the modules that own some

    @classmethod
    def of(cls, copy: nn.Module, network: nn.Module) -> "Followed":
        pairs = zip(copy.modules(), network.modules(), strict=True)
        with_buffers = [pair for pair in pairs if next(pair[1].buffers(recurse=False), None) is not None]
        firsts = [found for module in (copy, network) for found in first_parameter(module)]
        return cls(network, list(copy.parameters()), list(network.parameters()), firsts, with_buffers)

    def is_of(self, network: nn.Module) -> bool:
        """Whether this is what was found of the network, and still its own parameters, by the first of each."""
        return self.network is network and all(getattr(owner, name) is own for owner, name, own in self.firsts)


def first_parameter(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    """The module that owns the first parameter, what it is called there, and the parameter; nothing of none."""
    found = ((owner, name, own) for owner in module.modules() for name, own in owner.named_parameters(recurse=False))
    yield from islice(found, 1)

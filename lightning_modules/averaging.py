"""Exponential moving average of weights, on the clock of images seen (as in EDM, Karras et al. 2022)."""

from copy import deepcopy

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

    @torch.no_grad()
    def update(self, network: nn.Module, elapsed: int, images_seen: int) -> None:
        """Follow the network, `elapsed` images after the last update and `images_seen` after the start."""
        half_life = min(self.half_life, self.ramp_up * images_seen)
        decay = 0.5 ** (elapsed / half_life) if half_life > 0 else 0.0
        ours: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(network.parameters())
        if ours:
            torch._foreach_lerp_(ours, theirs, 1 - decay)
        for copy, buffer in zip(self.module.buffers(), network.buffers(), strict=True):
            copy.copy_(buffer)

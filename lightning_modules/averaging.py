"""Exponential moving average of weights, on the clock of images seen (as in EDM, Karras et al. 2022)."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class ExponentialMovingAverage(nn.Module):
    """A frozen copy of a network whose weights follow it with a half-life counted in images; buffers are copied.

    Early in training the half-life is `ramp_up` times the images seen, so that short runs forget their
    random start too. A half-life of 0 follows without delay: no averaging.
    """

    # torch's AveragedModel reads its counter from the device at each step, for which a GPU has to be waited for.

    def __init__(self, network: nn.Module, half_life: float, ramp_up: float) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.module(*inputs)

    @torch.no_grad()
    def update(self, network: nn.Module, batch_size: int, images_seen: int) -> None:
        half_life = min(self.half_life, self.ramp_up * images_seen)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(network.parameters()), 1 - decay)
        for ours, theirs in zip(self.module.buffers(), network.buffers(), strict=True):
            ours.copy_(theirs)

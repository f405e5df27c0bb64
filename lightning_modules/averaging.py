"""Exponential moving average of weights, on the clock of images seen (as in EDM, Karras et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class ExponentialMovingAverage(AveragedModel):
    """A frozen copy of a network whose weights follow it with a half-life counted in images.

    Early in training the half-life is `ramp_up` times the images seen, so that short runs forget their
    random start too. A half-life of 0 follows without delay: no averaging.
    """

    def __init__(self, network: nn.Module, half_life: float, ramp_up: float) -> None:
        super().__init__(network, multi_avg_fn=self._interpolate)
        self.requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up
        self.decay = 0.0

    def update(self, network: nn.Module, batch_size: int, images_seen: int) -> None:
        half_life = min(self.half_life, self.ramp_up * images_seen)
        self.decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        self.update_parameters(network)

    @torch.no_grad()
    def _interpolate(self, averaged: list[Tensor], current: list[Tensor], _count: Tensor | int) -> None:
        torch._foreach_lerp_(averaged, current, 1 - self.decay)

"""Likelihoods that give each of the 256 values of a pixel a probability: bits per dimension are defined for them."""

from collections.abc import Sequence
from itertools import count
from math import log
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from torch import Size, Tensor, nn
from torch.distributions import Categorical, Distribution, constraints
from torch.nn.functional import softplus

from foundation.ranges import Dimension

from .likelihoods import Likelihood


class DiscretizedLogisticLikelihood(Likelihood):
    """Each of the 256 values of a pixel has its bin's mass under a logistic (Salimans et al. 2017, arXiv:1701.05517).

    One learned scale for all pixels, in units of the whole range.
    """

    kind = "mass over bytes"
    is_over_bytes = True

    def __init__(self, scale: Annotated[float, Gt(0)]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))

    def distribution(self, parameters: Tensor) -> Distribution:
        return DiscretizedLogistic(parameters, self.log_scale.exp())

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters.clamp(0, 1)


class LogisticMixtureLikelihood(Likelihood):
    """Each pixel is drawn from one of K discretized logistics (PixelCNN++, Salimans et al. 2017, arXiv:1701.05517).

    Of each component the decoder puts out a logit and, for every channel, a mean and a log scale, in units in which
    pixels lie in [-1, 1], and how much the channel's mean moves with each channel before it: ten numbers for colour,
    three for grey.
    """

    kind = "mass over bytes"
    is_over_bytes = True
    log_scales = (-7.0, 7.0)  # from an eighth of a byte to a coin that knows black and white

    def __init__(self, num_components: Dimension) -> None:
        super().__init__()
        self.num_components = num_components

    def num_outputs(self, channels: int) -> int:
        return self.num_components * numbers_of_a_component(channels)

    def distribution(self, parameters: Tensor) -> "LogisticMixture":
        parts = parameters.unflatten(1, (self.num_components, -1))  # (B, K, numbers, H, W)
        channels = next(c for c in count(1) if numbers_of_a_component(c) >= parts.shape[2])
        logits, means, log_scales, moves = parts.split([1, channels, channels, channels * (channels - 1) // 2], dim=2)
        # From [-1, 1] to [0, 1]: means move, scales halve, and a channel moves another as much as before.
        scales = log_scales.clamp(*self.log_scales).exp() / 2
        return LogisticMixture(logits.squeeze(2), (means + 1) / 2, scales, moves.tanh())

    def mean(self, parameters: Tensor) -> Tensor:
        return self.distribution(parameters).mean


class CategoricalLikelihood(Likelihood):
    """Each pixel is one of a few evenly spaced grey levels, with any probabilities; each is spread over its bytes.

    A level is 256 / levels bytes, which share its probability evenly.
    """

    kind = "mass over bytes"
    is_over_bytes = True

    def __init__(self, levels: Literal[2, 4, 8, 16, 32, 64, 128, 256]) -> None:
        super().__init__()
        self.levels = levels

    def num_outputs(self, channels: int) -> int:
        return channels * self.levels

    def distribution(self, parameters: Tensor) -> "CategoricalBytes":
        logits = parameters.unflatten(1, (-1, self.levels)).movedim(2, -1)  # (B, C, H, W, levels)
        return CategoricalBytes(logits)

    def mean(self, parameters: Tensor) -> Tensor:
        return self.distribution(parameters).mean


class DiscretizedLogistic(Distribution):
    """Over {0, 1/255, …, 1}: a logistic's mass in bins of 1/255, the first and last of which are open."""

    arg_constraints: ClassVar = {}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(loc.shape, validate_args=False)
        self.loc, self.scale = loc, scale

    def log_prob(self, value: Tensor) -> Tensor:
        half_bin = 0.5 / 255
        distance = value - self.loc
        upper, lower = (distance + half_bin) / self.scale, (distance - half_bin) / self.scale
        # log(σ(u) − σ(l)) = log σ(u) + log σ(−l) + log(1 − e^(l−u)), finite however far in a tail the bin is. The first
        # bin has the first summand alone, the last one the second.
        below_last, above_first = value <= 1 - half_bin, value >= half_bin
        width = torch.log(-torch.expm1(-2 * half_bin / self.scale))
        return (
            torch.where(below_last & above_first, width, 0.0)
            - softplus(-upper) * below_last
            - softplus(lower) * above_first
        )

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        uniform = torch.rand(self._extended_shape(Size(sample_shape)), device=self.loc.device).clamp(1e-7, 1 - 1e-7)
        return ((self.loc + self.scale * torch.logit(uniform)).clamp(0, 1) * 255).round() / 255


class LogisticMixture(Distribution):
    """Over images (B, C, H, W) of bytes: in each position one of K components, whose channels follow each other.

    The mean of a channel's logistic moves with the channels before it: by `moves` times their distance from mid-grey.
    """

    arg_constraints: ClassVar = {}
    support = constraints.independent(constraints.unit_interval, 3)
    num_nodes = 8  # of the quadrature over the channels before the last

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, moves: Tensor) -> None:
        """Logits (B, K, H, W), locations and scales (B, K, C, H, W), moves (B, K, C(C − 1)/2, H, W)."""
        batch, _, channels, height, width = loc.shape
        super().__init__(Size([batch]), Size([channels, height, width]), validate_args=False)
        self.logits, self.loc, self.scale, self.moves = logits, loc, scale, moves

    def centre(self, before: Sequence[Tensor]) -> Tensor:
        """Where the next channel's logistics lie, (B, K, H, W), after the channels before it, (B, 1 or K, H, W)."""
        channel = len(before)
        first = channel * (channel - 1) // 2
        shifts = [self.moves[:, :, first + index] * (value - 0.5) for index, value in enumerate(before)]
        return sum(shifts, start=self.loc[:, :, channel])

    def log_prob(self, value: Tensor) -> Tensor:
        values = value.unsqueeze(1).unbind(2)  # C of (B, 1, H, W)
        log_masses = [
            DiscretizedLogistic(self.centre(values[:channel]), self.scale[:, :, channel]).log_prob(values[channel])
            for channel in range(len(values))
        ]
        of_components = self.logits.log_softmax(dim=1) + torch.stack(log_masses).sum(dim=0)  # (B, K, H, W)
        return of_components.logsumexp(dim=1).flatten(1).sum(dim=1)  # (B,)

    @property
    def mean(self) -> Tensor:
        """The expected image (B, C, H, W), without the rounding to bytes.

        The mean of a channel is exact given those before it. These take the values at the nodes of a lattice, the
        same for all pixels. So grey is exact; of wide components at the edges blue may be a few grey levels off.
        """
        last = self.loc.shape[2] - 1
        nodes = lattice(self.num_nodes, last) if last else [()]
        total = torch.zeros_like(self.loc)
        for node in nodes:
            before: list[Tensor] = []
            for channel, scale in enumerate(self.scale.unbind(2)):
                centre = self.centre(before)
                total[:, :, channel] += clipped_mean(centre, scale)
                if channel < last:
                    before.append((centre + node[channel] * scale).clamp(0, 1))
        shares = self.logits.softmax(dim=1).unsqueeze(2)  # (B, K, 1, H, W)
        return (shares * total / len(nodes)).sum(dim=1).clamp(0, 1)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        if len(sample_shape):
            raise NotImplementedError("a mixture of logistics draws one image for each of its parameters")
        chosen = (
            Categorical(logits=self.logits.movedim(1, -1), validate_args=False).sample().unsqueeze(1)
        )  # (B, 1, H, W)
        index = chosen.unsqueeze(2)
        loc, scale, moves = (
            part.gather(1, index.expand(-1, -1, part.shape[2], -1, -1)) for part in (self.loc, self.scale, self.moves)
        )
        one = LogisticMixture(self.logits.gather(1, chosen), loc, scale, moves)
        values: list[Tensor] = []
        for channel in range(loc.shape[2]):
            values.append(DiscretizedLogistic(one.centre(values), scale[:, :, channel]).sample())
        return torch.cat(values, dim=1)


class CategoricalBytes(Distribution):
    """Over {0, 1/255, …, 1}: levels of 256 / L bytes each, with softmax(logits), (…, L), as probabilities."""

    arg_constraints: ClassVar = {}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.shape[:-1], validate_args=False)
        self.logits = logits
        self.bytes_of_a_level = 256 // logits.shape[-1]

    @property
    def mean(self) -> Tensor:
        first = torch.arange(0, 256, self.bytes_of_a_level, device=self.logits.device)
        return self.logits.softmax(dim=-1) @ ((first + (self.bytes_of_a_level - 1) / 2) / 255)

    def log_prob(self, value: Tensor) -> Tensor:
        level = (value * 255).round().long() // self.bytes_of_a_level
        log_probs = self.logits.log_softmax(dim=-1)
        return log_probs.gather(-1, level.unsqueeze(-1)).squeeze(-1) - log(self.bytes_of_a_level)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        level = Categorical(logits=self.logits, validate_args=False).sample(Size(sample_shape))
        within = torch.randint(self.bytes_of_a_level, level.shape, device=level.device)
        return (level * self.bytes_of_a_level + within) / 255


def numbers_of_a_component(channels: int) -> int:
    """A logit, a mean and a scale for each channel, and a move for each pair of channels."""
    return 1 + 2 * channels + channels * (channels - 1) // 2


def clipped_mean(loc: Tensor, scale: Tensor) -> Tensor:
    """The mean of a logistic that is cut to [0, 1], what lies outside counting as the nearer end.

    It is the integral from 0 to 1 of the probability to lie above.
    """
    return scale * (softplus(loc / scale) - softplus((loc - 1) / scale))


def lattice(num_points: int, dimensions: int) -> list[tuple[float, ...]]:
    """Points that are spread evenly in the unit cube, as quantiles of independent logistics.

    The first coordinate runs through all midpoints; the others follow by the golden ratio's multiples.
    """
    golden = (5**0.5 - 1) / 2
    return [
        tuple(logit(((i + 0.5) / num_points if d == 0 else (i + 0.5) * golden**d) % 1) for d in range(dimensions))
        for i in range(num_points)
    ]


def logit(probability: float) -> float:
    return log(probability / (1 - probability))

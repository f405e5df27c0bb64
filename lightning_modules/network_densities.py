"""Densities that are small networks, trained on latents: a second-stage VAE, and flow matching."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import islice, pairwise
from math import pi
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import one_hot, softplus

from foundation.progress import track
from foundation.ranges import Count, Depth, Dimension, Images, Seed, Size

from .averaging import ExponentialMovingAverage
from .densities import FittedDensity
from .observing import drawing_from
from .priors import diagonal_normal, kl
from .values import Latents

SCALE_SPEED = 10  # of the second stage's scale, over that of weights: Adam moves all by as much in a step


class NetworkDensity(FittedDensity):
    """A density whose network is trained, from its own start, on latents that are kept in memory.

    What is kept of a training is the moving average of its weights. None of these requires a gradient, so that no
    optimizer of the model's knows of them. Held-out latents are not looked at: where their loss was least, long before
    the end, samples of digits were worse than at the end.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        num_classes: int | None,
        num_latents: int,
        num_steps: int,
        batch_size: int,
        lr: float,
        ema_half_life: float,
        seed: int,
    ) -> None:
        """`num_steps`: of Adam; `ema_half_life`: in steps; `seed`: of the network's start and all noise."""
        super().__init__(num_latents)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.num_steps, self.batch_size, self.lr, self.ema_half_life = num_steps, batch_size, lr, ema_half_life
        self.seed = seed
        # Latents are standardised.
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.ones(latent_dim))
        with drawing_from(seed, self.mean.device):
            self.network = self.start().requires_grad_(False)

    @abstractmethod
    def start(self) -> nn.Module:
        """An untrained network."""

    @abstractmethod
    def loss(self, network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        """What training descends: a scalar, of standardised latents (B, latent_dim) and their classes (B, C)."""

    @abstractmethod
    def generate(self, classes: Tensor) -> Tensor:
        """Draw standardised latents of these classes, (n, C), from the trained network: (n, latent_dim)."""

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        self.mean.copy_(latents.z.mean(dim=0))
        self.scale.copy_(latents.z.std(dim=0, correction=0).clamp(min=1e-6))
        # A test of Lightning's is in inference mode, whose tensors can't be learned from.
        with torch.inference_mode(False), torch.enable_grad(), drawing_from(self.seed, self.mean.device):
            self.train_on(*self.prepared(latents))

    def train_on(self, x: Tensor, classes: Tensor) -> None:
        """Train a network anew, on standardised latents (N, latent_dim) and classes (N, C), and keep its average."""
        network = self.start().to(x.device)
        average = ExponentialMovingAverage(network, self.ema_half_life, ramp_up=1.0)
        optimizer = torch.optim.Adam(network.parameters(), self.lr)
        batches = islice(self.batches(len(x), x.device), self.num_steps)
        for step, rows in enumerate(track(batches, self.num_steps, "fitting the density", "steps"), start=1):
            loss = self.loss(network, x[rows], classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(network, 1, step)
        self.network.load_state_dict(average.module.state_dict())

    def batches(self, count: int, device: torch.device) -> Iterator[Tensor]:
        """Indices into `count` latents, in one random order after the other."""
        size = min(self.batch_size, count)
        while True:
            yield from torch.randperm(count, device=device)[: count // size * size].split(size)

    def prepared(self, latents: Latents) -> tuple[Tensor, Tensor]:
        """Standardised latents (N, latent_dim), that can be learned from, and their classes (N, C)."""
        z, labels = latents.z.clone(), None if latents.labels is None else latents.labels.clone()
        return (z - self.mean) / self.scale, self.classes(len(z), labels)

    def classes(self, n: int, labels: Tensor | None) -> Tensor:
        """Labels as inputs of a network, (n, num_classes): one-hot; (n, 0) where the model knows none."""
        if self.num_classes is None or labels is None:
            return self.mean.new_zeros(n, 0)
        return one_hot(labels, self.num_classes).to(self.mean)

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        return self.mean + self.scale * self.generate(self.classes(n, labels))


class SecondStageDensity(NetworkDensity):
    """A VAE over the latents (2-Stage VAE, Dai & Wipf 2019, arXiv:1903.05789, section 4).

    Its own latents u are as many, u ~ N(0, I), and p(z|u) is a Gaussian with one learned scale: a decoder with as many
    latents as its data can be exact where the first one, of images, can't.
    """

    @property
    def name(self) -> str:
        return f"second_stage, {self.num_steps} steps"

    def __init__(
        self,
        latent_dim: Dimension,
        num_classes: Size | None,
        width: Size,
        depth: Annotated[Depth, Ge(1)],
        num_latents: Annotated[Images, Ge(2)],
        num_steps: Count,
        batch_size: Size,
        lr: Annotated[float, Gt(0)],
        ema_half_life: Annotated[float, Gt(0)],
        seed: Seed,
    ) -> None:
        self.width, self.depth = width, depth
        super().__init__(latent_dim, num_classes, num_latents, num_steps, batch_size, lr, ema_half_life, seed)

    def start(self) -> nn.Module:
        return SmallVAE(self.latent_dim, self.num_classes or 0, self.width, self.depth)

    def loss(self, network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        assert isinstance(network, SmallVAE)
        return -network.elbo(x, classes).mean()

    def generate(self, classes: Tensor) -> Tensor:
        assert isinstance(self.network, SmallVAE)
        u = torch.randn(len(classes), self.latent_dim, device=classes.device)
        return self.network.likelihood(u, classes).sample()


class SmallVAE(nn.Module):
    """Of vectors x (B, D), with as many latents u, given classes (B, C)."""

    def __init__(self, dim: int, num_classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.encoder = ResidualMLP(dim + num_classes, 2 * dim, width, depth)
        self.decoder = ResidualMLP(dim + num_classes, dim, width, depth)
        # Below 0 at first: of a decoder with errors as large as the data, no u would be worth its KL.
        self.slow_log_scale = nn.Parameter(torch.tensor(-0.5 / SCALE_SPEED))

    def elbo(self, x: Tensor, classes: Tensor) -> Tensor:
        """(B,), nats, by one draw of u."""
        loc, raw_scale = self.encoder(torch.cat([x, classes], dim=1)).chunk(2, dim=1)
        posterior = diagonal_normal(loc, softplus(raw_scale) + 1e-4)
        u = posterior.rsample()
        prior = diagonal_normal(torch.zeros_like(loc), torch.ones_like(loc))
        return self.likelihood(u, classes).log_prob(x).sum(dim=1) - kl(posterior, prior, u)

    def likelihood(self, u: Tensor, classes: Tensor) -> Normal:
        """p(x|u), each of x by itself: batch shape (B, D)."""
        return Normal(
            self.decoder(torch.cat([u, classes], dim=1)), (SCALE_SPEED * self.slow_log_scale).exp(), validate_args=False
        )


class FlowMatchingDensity(NetworkDensity):
    """Noise that flows along a learned velocity field (flow matching, Lipman et al. 2023, arXiv:2210.02747).

    The path of each pair of noise and latent is the straight line x(t) = (1 − t) ε + t x, along which the velocity is
    x − ε (their eq. 23 with a smallest scale of 0); the field is the least-squares fit to all of them. It is followed
    from t = 0 to 1 by the midpoint rule.
    """

    @property
    def name(self) -> str:
        return f"flow_matching, {self.num_steps} steps"

    def __init__(
        self,
        latent_dim: Dimension,
        num_classes: Size | None,
        width: Size,
        depth: Annotated[Depth, Ge(1)],
        num_latents: Annotated[Images, Ge(2)],
        num_steps: Count,
        batch_size: Size,
        lr: Annotated[float, Gt(0)],
        ema_half_life: Annotated[float, Gt(0)],
        num_sampling_steps: Count,
        seed: Seed,
    ) -> None:
        self.width, self.depth, self.num_sampling_steps = width, depth, num_sampling_steps
        super().__init__(latent_dim, num_classes, num_latents, num_steps, batch_size, lr, ema_half_life, seed)

    def start(self) -> nn.Module:
        return VelocityField(self.latent_dim, self.num_classes or 0, self.width, self.depth)

    def loss(self, network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        noise, t = torch.randn_like(x), torch.rand(len(x), 1, device=x.device)
        return (network(torch.lerp(noise, x, t), t, classes) - (x - noise)).square().mean()

    def generate(self, classes: Tensor) -> Tensor:
        x = torch.randn(len(classes), self.latent_dim, device=classes.device)
        times = torch.linspace(0, 1, self.num_sampling_steps + 1).tolist()
        for start, end in pairwise(times):
            half = (end - start) / 2
            middle = x + half * self.velocity(x, start, classes)
            x = x + (end - start) * self.velocity(middle, start + half, classes)
        return x

    def velocity(self, x: Tensor, t: float, classes: Tensor) -> Tensor:
        return self.network(x, x.new_full((len(x), 1), t), classes)


class VelocityField(nn.Module):
    """v(x, t) of x (B, D) at times t (B, 1) in [0, 1], given classes (B, C): (B, D)."""

    frequencies: Tensor

    def __init__(self, dim: int, num_classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", pi * 2.0 ** torch.arange(4), persistent=False)
        self.network = ResidualMLP(dim + 2 * len(self.frequencies) + num_classes, dim, width, depth)

    def forward(self, x: Tensor, t: Tensor, classes: Tensor) -> Tensor:
        angles = t * self.frequencies  # (B, 4)
        return self.network(torch.cat([x, angles.sin(), angles.cos(), classes], dim=1))


class ResidualMLP(nn.Module):
    """`depth` residual blocks of two layers each, between a first and a last layer."""

    def __init__(self, num_inputs: int, num_outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden)

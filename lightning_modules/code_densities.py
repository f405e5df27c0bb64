"""Densities over codes: what a trained VQ-VAE's latents are drawn from, fitted to the codes of training images."""

from abc import abstractmethod
from math import prod
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from foundation.progress import track
from foundation.ranges import Count, Dimension, Images, Seed, Size

from .densities import FittedDensity, classes_of
from .observing import drawing_from
from .values import Latents

LatentShape = tuple[Dimension, ...]
CHECKS = 10  # of the held-out log-likelihood, while a network is trained


class CodeDensity(FittedDensity):
    """p(codes | label) of codes (N, *latent_shape), int64 below `num_codes`; of a model without labels, p(codes)."""

    def __init__(self, latent_shape: LatentShape, num_latents: int) -> None:
        super().__init__(num_latents)
        self.latent_shape = tuple(latent_shape)
        self.length = prod(self.latent_shape)  # codes of an image, in row-major order

    @abstractmethod
    def log_prob(self, latents: Latents) -> Tensor:
        """log p(codes | label): (N,), nats."""


class IndependentCodes(CodeDensity):
    """Each position has its own categorical, for each label where the model knows labels: the codes' frequencies.

    One observation in all is spread evenly over the codes, so that none is impossible.
    """

    name = "independent_codes"

    log_shares: Tensor

    def __init__(
        self,
        latent_shape: LatentShape,
        num_codes: Annotated[Dimension, Ge(2)],
        num_classes: Size | None,
        num_latents: Images,
    ) -> None:
        super().__init__(latent_shape, num_latents)
        self.register_buffer("log_shares", torch.zeros(num_classes or 1, self.length, num_codes))

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        num_codes = self.log_shares.shape[2]
        counts = torch.full_like(self.log_shares, 1 / num_codes)
        positions = torch.arange(self.length, device=counts.device)
        classes = classes_of(latents.labels, len(latents), counts.device).unsqueeze(1).expand(-1, self.length)
        places = (classes, positions.expand(len(latents), -1), latents.z.flatten(1))
        counts.index_put_(places, counts.new_ones(()), accumulate=True)
        self.log_shares.copy_((counts / counts.sum(dim=2, keepdim=True)).log())

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        logits = self.log_shares[classes_of(labels, n, self.log_shares.device)]
        codes = Categorical(logits=logits).sample()  # (n, length)
        return codes.unflatten(1, self.latent_shape)

    def log_prob(self, latents: Latents) -> Tensor:
        logits = self.log_shares[classes_of(latents.labels, len(latents), self.log_shares.device)]
        return Categorical(logits=logits).log_prob(latents.z.flatten(1)).sum(dim=1)


class AutoregressiveCodes(CodeDensity):
    """p(codes) = Π p(code_i | codes before it, label), by a recurrent network (GRU, Cho et al. 2014, arXiv:1406.1078).

    In the place of the paper's PixelCNN: codes in the order of their positions, which need not be a grid. It is trained
    on codes kept in memory; of ten states on the way, that which finds held-out codes likeliest is kept.
    """

    name = "autoregressive_codes"

    def __init__(
        self,
        latent_shape: LatentShape,
        num_codes: Annotated[Dimension, Ge(2)],
        num_classes: Size | None,
        width: Size,
        num_steps: Count,
        batch_size: Size,
        lr: Annotated[float, Gt(0)],
        num_latents: Images,
        seed: Seed,
    ) -> None:
        """`num_steps`: of AdamW, whose rate makes one cycle up to `lr`. `seed`: of its start and batches."""
        super().__init__(latent_shape, num_latents)
        self.shape_of_network = (self.length, num_codes, num_classes, width)
        self.num_steps, self.batch_size, self.lr, self.seed = num_steps, batch_size, lr, seed
        self.network = self.new_network()

    def new_network(self) -> "CodeNetwork":
        """A network whose weights are the seed's, which no optimizer of the model's trains; global generators stay."""
        with drawing_from(self.seed, torch.device("cpu")):
            return CodeNetwork(*self.shape_of_network).requires_grad_(False)

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        # A test runs in inference mode, whose tensors can't take part in training.
        with torch.inference_mode(False), torch.enable_grad():
            self.train_network(clone(latents), clone(held_out))

    def train_network(self, latents: Latents, held_out: Latents) -> None:
        network = self.network
        network.load_state_dict(self.new_network().state_dict())
        network.train().requires_grad_(True)  # cuDNN's recurrent networks have no gradients in evaluation mode
        checks = {round(self.num_steps * part / CHECKS) for part in range(1, CHECKS + 1)}
        generator = torch.Generator().manual_seed(self.seed)
        optimizer = AdamW(network.parameters(), lr=self.lr)
        schedule = OneCycleLR(optimizer, max_lr=self.lr, total_steps=self.num_steps)
        best, best_state = -float("inf"), network.state_dict()
        for step in track(range(1, self.num_steps + 1), self.num_steps, "fitting the density", "steps"):
            rows = torch.randint(len(latents), (self.batch_size,), generator=generator).to(latents.z.device)
            loss = -self.log_prob(latents[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if step in checks:
                found = self.mean_log_prob(held_out)
                if found > best:
                    best, best_state = found, {key: value.clone() for key, value in network.state_dict().items()}
        if best == -float("inf"):
            raise RuntimeError("the density over codes diverged: held-out codes never had a finite log-likelihood")
        network.load_state_dict(best_state)
        network.eval().requires_grad_(False)

    @torch.no_grad()
    def mean_log_prob(self, latents: Latents) -> float:
        return float(torch.cat([self.log_prob(part) for part in latents.split(self.batch_size)]).mean())

    def log_prob(self, latents: Latents) -> Tensor:
        codes = latents.z.flatten(1)
        logits = self.network(codes, latents.labels)  # (N, length, num_codes)
        return -cross_entropy(logits.transpose(1, 2), codes, reduction="none").sum(dim=1)

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        return self.network.sample(n, labels).unflatten(1, self.latent_shape)


class CodeNetwork(nn.Module):
    """Codes (B, length) and labels to logits of each code given those before it."""

    def __init__(self, length: int, num_codes: int, num_classes: int | None, width: int) -> None:
        super().__init__()
        self.length, self.num_codes = length, num_codes
        self.codes = nn.Embedding(num_codes + 1, width)  # the last stands before the first code
        self.positions = nn.Parameter(0.1 * torch.randn(length, width))
        self.labels = nn.Embedding(num_classes, width) if num_classes else None
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.logits = nn.Linear(width, num_codes)

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """(B, length, num_codes)."""
        start = torch.full_like(codes[:, :1], self.num_codes)
        before = torch.cat([start, codes[:, :-1]], dim=1)  # (B, length)
        hidden, _ = self.recurrent(self.codes(before) + self.positions + self.vectors_of(labels))
        return self.logits(hidden)

    def sample(self, n: int, labels: Tensor | None) -> Tensor:
        """Draw (n, length), one code after the other."""
        code = torch.full((n, 1), self.num_codes, device=self.positions.device)
        drawn, state, of_labels = [], None, self.vectors_of(labels)
        for position in range(self.length):
            hidden, state = self.recurrent(self.codes(code) + self.positions[position] + of_labels, state)
            code = Categorical(logits=self.logits(hidden)).sample()  # (n, 1)
            drawn.append(code)
        return torch.cat(drawn, dim=1)

    def vectors_of(self, labels: Tensor | None) -> Tensor:
        """What labels add at every position: (B, 1, width), or nothing, (1,)."""
        if self.labels is None or labels is None:
            return self.positions.new_zeros(1)
        return self.labels(labels).unsqueeze(1)


def clone(latents: Latents) -> Latents:
    return Latents(latents.z.clone(), None if latents.labels is None else latents.labels.clone())

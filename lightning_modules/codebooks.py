"""Codebooks: the vectors by the nearest of which a VQ-VAE replaces what its encoder says (arXiv:1711.00937)."""

from abc import ABC, abstractmethod
from typing import Annotated

import torch
import torch.distributed as dist
from annotated_types import Ge, Interval
from torch import Tensor, nn

from foundation.ranges import Dimension


class Codebook(nn.Module, ABC):
    """`num_codes` vectors of `code_dim` numbers; codes are their indices, int64."""

    vectors: Tensor  # (num_codes, code_dim)

    def nearest(self, z: Tensor) -> Tensor:
        """Vectors (…, code_dim) to the codes (…) of those nearest to them."""
        with torch.autocast(z.device.type, enabled=False):  # distances need their digits
            products = z @ self.vectors.T  # (…, num_codes)
        return (self.vectors.square().sum(dim=1) - 2 * products).argmin(dim=-1)  # ‖z − e‖² but for ‖z‖²

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (…) to their vectors (…, code_dim)."""
        return self.vectors[codes]

    @abstractmethod
    def loss(self, z: Tensor, codes: Tensor) -> Tensor:
        """What the vectors descend, a mean over the batch, given the encoder's vectors (B, P, code_dim) and codes."""

    @abstractmethod
    def follow(self, z: Tensor, codes: Tensor) -> None:
        """Move the vectors towards those that chose them, where they do not descend a loss."""


class GradientCodebook(Codebook):
    """The vectors descend ‖sg[z] − e‖², summed over an image's positions (eq. 3, second term)."""

    def __init__(self, num_codes: Dimension, code_dim: Dimension) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(num_codes, code_dim))

    def loss(self, z: Tensor, codes: Tensor) -> Tensor:
        return (z.detach() - self(codes)).square().sum(dim=(1, 2)).mean()

    def follow(self, z: Tensor, codes: Tensor) -> None:
        pass


class MovingAverageCodebook(Codebook):
    """Each vector is the moving average of those that chose it: k-means on a stream (appendix A.1, eq. 6 to 8).

    A code that is chosen less often than `revive_below` times a batch, on average, moves to a vector of the batch
    (random restarts, Dhariwal et al. 2020, arXiv:2005.00341, section 3.1). So all begin at vectors of the first batch.
    """

    uses: Tensor
    sums: Tensor

    def __init__(
        self,
        num_codes: Dimension,
        code_dim: Dimension,
        decay: Annotated[float, Interval(gt=0, lt=1)],
        revive_below: Annotated[float, Ge(0)],
    ) -> None:
        """`decay`: of the averages, for each batch."""
        super().__init__()
        self.decay, self.revive_below = decay, revive_below
        self.register_buffer("vectors", torch.randn(num_codes, code_dim))
        self.register_buffer("uses", torch.zeros(num_codes))  # N, of a batch
        self.register_buffer("sums", torch.zeros(num_codes, code_dim))  # m = N · e

    def loss(self, z: Tensor, codes: Tensor) -> Tensor:
        return z.new_zeros(())

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor) -> None:
        z, codes = z.flatten(0, -2), codes.flatten()  # (N, code_dim), (N,)
        uses = torch.zeros_like(self.uses).index_add_(0, codes, torch.ones_like(z[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, z)
        restarts = z[torch.randint(len(z), self.uses.shape, device=z.device)]
        if dist.is_initialized():  # the processes' batches are one
            dist.all_reduce(uses)
            dist.all_reduce(sums)
            dist.broadcast(restarts, src=0)
        self.uses.lerp_(uses, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.revive(restarts)
        self.vectors.copy_(self.sums / self.uses.unsqueeze(1))

    def revive(self, restarts: Tensor) -> None:
        """Put those that are chosen too rarely where `restarts`, (num_codes, code_dim), are: as if chosen once."""
        is_dead = (self.uses < self.revive_below) | (self.uses == 0)
        self.uses.masked_fill_(is_dead, 1.0)
        self.sums.copy_(torch.where(is_dead.unsqueeze(1), restarts, self.sums))

"""What models share whose latents are drawn from a density that is fitted after training."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch.distributed as dist
from torch import Tensor
from torch.distributions import Distribution

from .densities import Density
from .generative_model import GenerativeModel
from .values import Batch, Latents

# Of an image, at most, to fit a density to. Of one draw each of 1,197 digits held-out latents choose a mixture of one
# Gaussian (fid_reference on val 15), of ten draws one of ten (4.0).
DRAWS = 10


class DensityModel(GenerativeModel, ABC):
    """A model whose constructor sets a `density`, which is fitted to latents of training images."""

    density: Density

    @abstractmethod
    def draws(self, batches: Iterable[Batch], times: int) -> Iterator[Latents]:
        """Latents of images in [0, 1], one for each, as the decoder sees them while training.

        Then others of the same images, `times` in all, where they are drawn at random.
        """

    @abstractmethod
    def latent_prior(self) -> Distribution:
        """p(z), of event shape latent_shape: what training has made the latents of all images be like."""

    @property
    def latents_from(self) -> str:
        return self.density.name

    @property
    def latents_are_fitted(self) -> bool:
        return self.density.is_fitted(self.images_seen)

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit the density to latents of training images; of no more of them than it asks for."""
        self.density.fit(self.draws(batches, DRAWS), self.draws(held_out, 1), self.images_seen)
        if dist.is_initialized():  # each process has fitted the same; let none differ by a rounding
            for tensor in self.density.state_dict().values():
                dist.broadcast(tensor, src=0)

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        return self.density.sample(n, self.latent_prior(), labels)

    def known_labels(self, batch: Batch) -> Tensor | None:
        """A batch's labels where the model knows labels, else None."""
        return None if self.num_classes is None else batch.labels

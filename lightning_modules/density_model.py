"""What models share whose latents are drawn from a density that is fitted after training."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch.distributed as dist
from torch import Tensor
from torch.distributions import Distribution

from .densities import Density
from .generative_model import GenerativeModel
from .values import Batch, Latents


class DensityModel(GenerativeModel, ABC):
    """A model whose constructor sets a `density`, which is fitted to latents of training images."""

    density: Density

    @abstractmethod
    def latent_draws(self, batch: Batch) -> Latents:
        """Latents of images in [0, 1], one for each, as the decoder sees them while training."""

    @abstractmethod
    def latent_prior(self) -> Distribution:
        """p(z), of event shape latent_shape: what training has made the latents of all images be like."""

    @property
    def latents_from(self) -> str:
        return self.density.name

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        """Fit the density to latents of training images; of no more of them than it asks for."""
        self.density.fit(map(self.latent_draws, batches), map(self.latent_draws, held_out), self.images_seen)
        if dist.is_initialized():  # each process has fitted the same; let none differ by a rounding
            for tensor in self.density.state_dict().values():
                dist.broadcast(tensor, src=0)

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        return self.density.sample(n, self.latent_prior(), labels)

    def known_labels(self, batch: Batch) -> Tensor | None:
        """A batch's labels where the model knows labels, else None."""
        return None if self.num_classes is None else batch.labels

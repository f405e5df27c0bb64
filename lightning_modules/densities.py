"""Densities: what a trained VAE's latents are drawn from, fitted to the latents of training images."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from .values import Latents


class Density(nn.Module, ABC):
    """A distribution over z whose parameters are in the model's checkpoints."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in a score's record."""

    @abstractmethod
    def fit(self, latents: Iterable[Latents], held_out: Iterable[Latents], images_seen: int) -> None:
        """Fit to draws z ~ q(z|x) of training images, (B, latent_dim) each, that took `images_seen` to train.

        `held_out` are draws of val images, which choose the settings of the fit. Both come with labels, (B,), where the
        model knows labels.
        """

    @abstractmethod
    def sample(self, n: int, prior: Distribution, labels: Tensor | None) -> Tensor:
        """Draw (n, latent_dim), of these labels where the model knows labels; `prior` is the model's."""


class PriorDensity(Density):
    """The neutral element: the prior itself, which training has made room for."""

    name = "prior"

    def __init__(self, latent_dim: Annotated[int, Ge(1)], num_classes: Annotated[int, Ge(1)] | None) -> None:
        super().__init__()

    def fit(self, latents: Iterable[Latents], held_out: Iterable[Latents], images_seen: int) -> None:
        pass

    def sample(self, n: int, prior: Distribution, labels: Tensor | None) -> Tensor:
        return prior.sample((n,))


class FittedDensity(Density):
    """A density that is fitted once for each state of the weights, and drawn from only then."""

    fitted_at: Tensor

    def __init__(self, num_latents: int) -> None:
        """`num_latents`: to fit to, at most."""
        super().__init__()
        self.num_latents = num_latents
        self.register_buffer("fitted_at", torch.tensor(-1))  # training images seen; -1: not fitted

    def fit(self, latents: Iterable[Latents], held_out: Iterable[Latents], images_seen: int) -> None:
        if int(self.fitted_at) != images_seen:
            self.fit_to(first_rows(latents, self.num_latents), first_rows(held_out, self.num_latents))
            self.fitted_at.fill_(images_seen)

    def sample(self, n: int, prior: Distribution, labels: Tensor | None) -> Tensor:
        if int(self.fitted_at) < 0:
            raise RuntimeError(
                "a density is fitted before latents are drawn from it: model.fit_latents(batches, held_out)"
            )
        return self.draw(n, labels)

    @abstractmethod
    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        """Set the parameters by latents (N, latent_dim) of train, and settings by those of val."""

    @abstractmethod
    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        """Draw (n, latent_dim) from the fitted distribution, of these labels where the model knows labels."""


class GaussianMixtureDensity(FittedDensity):
    """A mixture of full Gaussians, fitted by EM (ex-post density estimation, Ghosh et al. 2020, arXiv:1903.12436)."""

    name = "gaussian_mixture"

    log_weights: Tensor
    means: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        latent_dim: Annotated[int, Ge(1)],
        num_classes: Annotated[int, Ge(1)] | None,
        num_components: Annotated[int, Ge(1)],
        num_latents: Annotated[int, Ge(2)],
        seed: Annotated[int, Ge(0)],
    ) -> None:
        """`seed`: of EM's start."""
        super().__init__(num_latents)
        self.num_components, self.seed = num_components, seed
        self.register_buffer("log_weights", torch.zeros(num_components))
        self.register_buffer("means", torch.zeros(num_components, latent_dim))
        self.register_buffer("scale_tril", torch.eye(latent_dim).repeat(num_components, 1, 1))

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        z = latents.z
        used = min(self.num_components, len(z))  # a small set of images may have fewer latents than components
        mixture_model = GaussianMixture(used, random_state=self.seed, init_params="k-means++")
        fitted = mixture_model.fit(z.double().cpu().numpy())
        self.log_weights.fill_(-torch.inf)
        self.log_weights[:used] = torch.from_numpy(fitted.weights_).log()
        self.means[:used] = torch.from_numpy(fitted.means_).to(self.means)
        self.scale_tril[:used] = torch.from_numpy(np.linalg.cholesky(fitted.covariances_)).to(self.means)

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        # torch's MixtureSameFamily would draw from every component for each latent: gigabytes for large ones.
        component = Categorical(logits=self.log_weights, validate_args=False).sample((n,))  # (n,)
        noise = torch.randn(n, self.means.shape[1], 1, device=self.means.device)
        return self.means[component] + (self.scale_tril[component] @ noise).squeeze(2)


def first_rows(parts: Iterable[Latents], count: int) -> Latents:
    """The first `count` rows of all parts, of which no more are made than are needed."""
    taken: list[Latents] = []
    for part in parts:
        taken.append(part)
        if sum(map(len, taken)) >= count:
            break
    labels = [part.labels for part in taken if part.labels is not None]
    return Latents(torch.cat([part.z for part in taken]), torch.cat(labels) if labels else None)[:count]

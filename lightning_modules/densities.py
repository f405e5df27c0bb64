"""Densities: what a trained VAE's latents are drawn from, fitted to the latents of training images."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import isfinite, log, pi
from typing import Annotated
from warnings import catch_warnings

import torch
from annotated_types import Ge, Gt, MinLen
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from foundation.progress import track
from foundation.ranges import Count, Dimension, Images, Seed, Size

from .values import Latents


class Density(nn.Module, ABC):
    """A distribution over z whose parameters are in the model's checkpoints."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in a score's record."""

    def is_fitted(self, images_seen: int) -> bool:
        """Whether it was fitted to the latents of weights that took `images_seen` to train, if it has to be."""
        return True

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

    def __init__(self, latent_dim: Dimension, num_classes: Size | None) -> None:
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

    def is_fitted(self, images_seen: int) -> bool:
        return int(self.fitted_at) == images_seen

    def fit(self, latents: Iterable[Latents], held_out: Iterable[Latents], images_seen: int) -> None:
        if not self.is_fitted(images_seen):
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


class GaussianDensity(FittedDensity):
    """One Gaussian with a full covariance; of a model that knows labels one for each class.

    A class's covariance is drawn to the mean of all classes' as by latent_dim + 1 latents more: few may be of a class.
    """

    name = "gaussian"

    means: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        latent_dim: Dimension,
        num_classes: Size | None,
        num_latents: Annotated[Images, Ge(2)],
    ) -> None:
        super().__init__(num_latents)
        self.register_buffer("means", torch.zeros(num_classes or 1, latent_dim))
        self.register_buffer("scale_tril", torch.eye(latent_dim).repeat(num_classes or 1, 1, 1))

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        z, classes = latents.z.double(), classes_of(latents.labels, len(latents), latents.z.device)
        count, dim = self.means.shape
        members = [z[classes == label] for label in range(count)]
        means = [rows.mean(dim=0) if len(rows) else z.mean(dim=0) for rows in members]
        scatters = [(rows - mean).T @ (rows - mean) for rows, mean in zip(members, means, strict=True)]
        within = torch.stack(scatters).sum(dim=0) / len(z) + 1e-6 * torch.eye(dim, device=z.device, dtype=z.dtype)
        for label, rows in enumerate(members):
            covariance = (scatters[label] + (dim + 1) * within) / (len(rows) + dim + 1)
            self.means[label] = means[label].to(self.means)
            self.scale_tril[label] = torch.linalg.cholesky(covariance).to(self.means)

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        return gaussian_draws(self.means, self.scale_tril, classes_of(labels, n, self.means.device))


class GaussianMixtureDensity(FittedDensity):
    """A mixture of full Gaussians, fitted by EM (ex-post density estimation, Ghosh et al. 2020, arXiv:1903.12436).

    Of several numbers of components, in ascending order, it takes the last before the log-likelihood of held-out
    latents falls. All classes share the components; of a model that knows labels each class has weights of its own.
    """

    log_weights: Tensor
    means: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        latent_dim: Dimension,
        num_classes: Size | None,
        num_components: Dimension | Annotated[list[Dimension], MinLen(1)],
        num_latents: Annotated[Images, Ge(2)],
        tol: Annotated[float, Gt(0)],
        max_iter: Count,
        seed: Seed,
    ) -> None:
        """`num_components`: a number, or several to choose from. EM ends after `max_iter` steps, or with one that gains
        no more than `tol` nats per latent; `seed` is of its start.
        """
        super().__init__(num_latents)
        self.candidates = [num_components] if isinstance(num_components, int) else sorted(set(num_components))
        self.tol, self.max_iter, self.seed = tol, max_iter, seed
        most = max(self.candidates)
        self.register_buffer("log_weights", torch.full((num_classes or 1, most), -torch.inf))  # of unused ones -inf
        self.register_buffer("means", torch.zeros(most, latent_dim))
        self.register_buffer("scale_tril", torch.eye(latent_dim).repeat(most, 1, 1))

    @property
    def name(self) -> str:
        used = int(self.log_weights.isfinite().any(dim=0).sum())
        return f"gaussian_mixture of {used}" if used else "gaussian_mixture"

    def fit_to(self, latents: Latents, held_out: Latents) -> None:
        best = -torch.inf
        # A small set of images may have fewer latents than components.
        counts = sorted({min(count, len(latents)) for count in self.candidates})
        for count in track(counts, len(counts), "fitting the density", "mixtures"):
            fitted = self.fitted(latents, count)
            found = float(mixture_log_prob(*fitted, held_out).mean())
            if not isfinite(found):
                raise RuntimeError(f"a mixture of {count} Gaussians has no finite likelihood of held-out latents")
            if found <= best:
                break
            best = found
            self.log_weights.fill_(-torch.inf)
            for buffer, values in zip((self.log_weights.T, self.means, self.scale_tril), fitted, strict=True):
                buffer[:count] = values

    def fitted(self, latents: Latents, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights of the classes (count, C), means (count, D) and Cholesky factors (count, D, D)."""
        mean, scale = latents.z.mean(dim=0), latents.z.std(dim=0, correction=0).clamp(min=1e-6)
        # Standardised, so that float32 is enough, which is twice as fast.
        rows = ((latents.z - mean) / scale).float().cpu().numpy()
        mixture = GaussianMixture(count, tol=self.tol, max_iter=self.max_iter, reg_covar=1e-5, random_state=self.seed)
        with catch_warnings(action="ignore", category=ConvergenceWarning):
            mixture.fit(rows)
        weights, means, covariances = (
            torch.from_numpy(found).to(latents.z) for found in (mixture.weights_, mixture.means_, mixture.covariances_)
        )
        means, scale_tril = mean + scale * means, scale.unsqueeze(1) * torch.linalg.cholesky(covariances)
        log_weights = weights.log().unsqueeze(1).expand(-1, len(self.log_weights))
        if latents.labels is not None:
            log_weights = self.class_weights(latents, log_weights, means, scale_tril)
        return log_weights, means, scale_tril

    def class_weights(self, latents: Latents, log_weights: Tensor, means: Tensor, scale_tril: Tensor) -> Tensor:
        """The logs of p(k|y), (K, C), by EM for given components, from weights that are the same for all classes."""
        log_probs = component_log_probs(means, scale_tril, latents.z)  # (N, K)
        classes = classes_of(latents.labels, len(latents), latents.z.device)
        for _ in range(self.max_iter):
            shares = (log_probs + log_weights.T[classes]).softmax(dim=1)
            # As if each class had one latent more, that is shared as all are: it may have none.
            sums = shares.mean(dim=0).expand(log_weights.shape[1], -1).clone().index_add_(0, classes, shares)
            log_weights = (sums / sums.sum(dim=1, keepdim=True)).clamp(min=1e-30).log().T
        return log_weights

    def draw(self, n: int, labels: Tensor | None) -> Tensor:
        # torch's MixtureSameFamily would draw from every component for each latent: gigabytes for large ones.
        if labels is None:
            component = Categorical(logits=self.log_weights[0], validate_args=False).sample((n,))  # (n,)
        else:
            component = Categorical(logits=self.log_weights[labels], validate_args=False).sample()
        return gaussian_draws(self.means, self.scale_tril, component)


def classes_of(labels: Tensor | None, n: int, device: torch.device) -> Tensor:
    """The class of each of n latents, (n,): its label; 0 of all where the model knows no labels."""
    return torch.zeros(n, dtype=torch.int64, device=device) if labels is None else labels


def gaussian_draws(means: Tensor, scale_tril: Tensor, which: Tensor) -> Tensor:
    """One draw from each of those Gaussians, (n,), of means (K, D) and Cholesky factors (K, D, D): (n, D)."""
    noise = torch.randn(len(which), means.shape[1], 1, device=means.device)
    drawn = torch.empty(len(which), means.shape[1], device=means.device)
    for index in which.unique().tolist():  # not scale_tril[which], which is a matrix for each draw
        rows = which == index
        drawn[rows] = means[index] + (scale_tril[index] @ noise[rows]).squeeze(2)
    return drawn


def component_log_probs(means: Tensor, scale_tril: Tensor, z: Tensor) -> Tensor:
    """log N(z; mean, covariance) of K Gaussians, (N, K), nats."""
    columns = []
    for mean, factor in zip(means, scale_tril, strict=True):
        whitened = torch.linalg.solve_triangular(factor, (z - mean).T, upper=False)  # (D, N)
        normalizer = factor.diagonal().log().sum() + log(2 * pi) * len(mean) / 2
        columns.append(-whitened.square().sum(dim=0) / 2 - normalizer)
    return torch.stack(columns, dim=1)


def mixture_log_prob(log_weights: Tensor, means: Tensor, scale_tril: Tensor, latents: Latents) -> Tensor:
    """log p(z|y), (N,), nats, of a mixture whose classes have log weights (K, C)."""
    classes = classes_of(latents.labels, len(latents), latents.z.device)
    return (component_log_probs(means, scale_tril, latents.z) + log_weights.T[classes]).logsumexp(dim=1)


def first_rows(parts: Iterable[Latents], count: int) -> Latents:
    """The first `count` rows of all parts, of which no more are made than are needed."""
    taken: list[Latents] = []
    for part in parts:
        taken.append(part)
        if sum(map(len, taken)) >= count:
            break
    labels = [part.labels for part in taken if part.labels is not None]
    return Latents(torch.cat([part.z for part in taken]), torch.cat(labels) if labels else None)[:count]

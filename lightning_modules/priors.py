"""Priors p(z) over latents (B, latent_dim), as distributions."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, kl_divergence
from zuko.flows import MAF

from foundation.ranges import Depth, Dimension, Size

from .values import Batch

Posterior = Callable[[Batch], Independent]  # images to q(z|x), of batch shape (B,) and event shape (latent_dim,)
TrainingImages = Callable[[int], tuple[Tensor, Tensor]]  # how many, to images in [0, 1] and their labels


class Prior(nn.Module, ABC):
    """p(z), possibly with parameters of its own, which the ELBO then trains."""

    @abstractmethod
    def distribution(self, posterior: Posterior) -> Distribution:
        """p(z), of event shape (latent_dim,), given the model's posterior."""


class StandardNormalPrior(Prior):
    """N(0, I)."""

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: Dimension) -> None:
        super().__init__()
        # Buffers, so that the distribution is on the model's device; not persistent: they are constants.
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def distribution(self, posterior: Posterior) -> Distribution:
        return diagonal_normal(self.loc, self.scale)


class MixturePrior(Prior):
    """A mixture of diagonal Gaussians, all of whose parameters are learned."""

    def __init__(self, latent_dim: Dimension, num_components: Dimension) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.means = nn.Parameter(0.1 * torch.randn(num_components, latent_dim))  # near N(0, I)
        self.log_scales = nn.Parameter(torch.zeros(num_components, latent_dim))

    def distribution(self, posterior: Posterior) -> Distribution:
        return mixture(self.logits, diagonal_normal(self.means, self.log_scales.exp()))


class FlowPrior(Prior):
    """N(0, I) through masked autoregressive flows (Papamakarios et al. 2017, arXiv:1705.07057). It begins as N(0, I).

    Each transform scales and moves a latent by a network of those before it, in an order of its own, in `groups`.
    """

    groups = 8  # a draw takes as many passes through each network; with a group for each latent, 64 and no better

    def __init__(
        self,
        latent_dim: Dimension,
        transforms: Annotated[Depth, Ge(1)],
        width: Size,
        depth: Annotated[Depth, Ge(1)],
    ) -> None:
        """`width` and `depth`: of the hidden layers of each transform's network."""
        super().__init__()
        hidden = [width] * depth
        self.flow = MAF(latent_dim, transforms=transforms, hidden_features=hidden, passes=self.groups, randperm=True)
        for transform in self.flow.transform.transforms:  # the identity is where all outputs are 0
            last = transform if latent_dim == 1 else transform.hyper[-1]  # one latent has no network, but parameters
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def distribution(self, posterior: Posterior) -> Distribution:
        return self.flow()


class VampPrior(Prior):
    """An even mixture of the posteriors at learned pseudo-inputs (Tomczak & Welling 2018, arXiv:1705.07120).

    The pseudo-inputs begin as training images. A batch norm in the encoder would mix their statistics with the images'.
    """

    labels: Tensor

    def __init__(
        self,
        latent_dim: Dimension,
        num_components: Dimension,
        training_images: TrainingImages,
    ) -> None:
        super().__init__()
        images, labels = training_images(num_components)
        self.logits_of_pixels = nn.Parameter(torch.logit(images, eps=0.01))  # so that any value is a pixel in [0, 1]
        self.register_buffer("labels", labels)

    def distribution(self, posterior: Posterior) -> Distribution:
        components = posterior(Batch(self.logits_of_pixels.sigmoid(), self.labels))
        return mixture(self.logits_of_pixels.new_zeros(len(self.labels)), components)


def diagonal_normal(loc: Tensor, scale: Tensor) -> Independent:
    """A Gaussian with independent latents: batch shape (B,), event shape (latent_dim,)."""
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def mixture(logits: Tensor, components: Distribution) -> MixtureSameFamily:
    """Of K components, chosen with probabilities softmax(logits): (K,)."""
    return MixtureSameFamily(Categorical(logits=logits, validate_args=False), components, validate_args=False)


def kl_by_dimension(posterior: Independent, prior: Distribution) -> Tensor | None:
    """KL(q(z|x) ‖ p(z)) of each latent dimension, (B, latent_dim), nats; None where the prior is no product."""
    if not isinstance(prior, Independent):
        return None
    try:
        return kl_divergence(posterior.base_dist, prior.base_dist)
    except NotImplementedError:  # torch has no closed form for these two
        return None


def kl(posterior: Independent, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q(z|x) ‖ p(z)), (B,), nats: torch's closed form where it has one, else estimated from the draw z ~ q."""
    try:
        return kl_divergence(posterior, prior)
    except NotImplementedError:
        return posterior.log_prob(z) - prior.log_prob(z)


def kl_parts(posterior: Independent, prior: Distribution, z: Tensor) -> Tensor:
    """KL(q(z|x) ‖ p(z)) by latent dimension, (B, latent_dim), nats; one that does not part is spread over them evenly.

    `z` is a draw from q(z|x).
    """
    parts = kl_by_dimension(posterior, prior)
    return kl(posterior, prior, z).unsqueeze(1).expand(z.shape) / z.shape[1] if parts is None else parts

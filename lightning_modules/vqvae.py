"""Vector-quantised variational autoencoder (van den Oord et al. 2017, arXiv:1711.00937)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent
from torch.optim import Optimizer

from foundation.ranges import Dimension, Parameters

from .clippings import Clipping
from .code_densities import CodeDensity
from .codebooks import Codebook
from .conditioning import Conditioning
from .density_model import DensityModel
from .likelihoods import Likelihood
from .networks.budget import within_budget
from .schedules import Schedule
from .terms import NATS, Term, Terms
from .values import Batch, Latents


class VQVAE(DensityModel):
    """Latents are codes, int64 (B, num_positions): the encoder's vector is cut into as many parts, and each of them is
    replaced by the nearest vector of the codebook. The decoder sees those, joined.

    Descends −log p(x|e) + ‖sg[z] − e‖² + β ‖z − sg[e]‖² (eq. 3), nats per image; gradients pass from e to z unchanged.
    The paper's codes lie on the encoder's grid; cut from its vector they serve every network and image size.
    """

    interpolates = False  # between two codes there is none
    num_codes: int

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_positions: Dimension,
        num_codes: Annotated[Dimension, Ge(2)],
        code_dim: Dimension,
        commitment: Annotated[float, Ge(0)],
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        parameters: Parameters | None,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        conditioning: Callable[..., Conditioning],
        likelihood: Likelihood,
        codebook: Callable[..., Codebook],
        density: Callable[..., CodeDensity],
        schedule: Schedule,
        clipping: Clipping,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        """`commitment`: β, which holds the encoder to its codes."""
        roles, latent_shape = conditioning(), (num_positions,)
        super().__init__(image_shape, latent_shape, roles.num_classes, ema_half_life, ema_ramp_up, schedule, clipping)
        vector_dim = num_positions * code_dim
        channels, height, width = self.image_shape
        outputs = (likelihood.num_outputs(channels), height, width)
        self.encoder = within_budget(parameters, roles.encoder, encoder, self.image_shape, vector_dim)
        self.decoder = within_budget(parameters, roles.decoder, decoder, outputs, vector_dim)
        self.num_codes, self.commitment = num_codes, commitment
        self.likelihood = likelihood
        self.codebook = codebook(num_codes=num_codes, code_dim=code_dim)
        self.density = density(latent_shape=self.latent_shape, num_codes=num_codes, num_classes=self.num_classes)
        self.optimizer = optimizer
        self.keep_averages("encoder", "decoder", "likelihood", "codebook")

    @property
    def networks(self) -> dict[str, nn.Module]:
        learned = {"codebook": self.codebook} if any(True for _ in self.codebook.parameters()) else {}
        return {"encoder": self.encoder, "decoder": self.decoder, **learned}

    @property
    def terms(self) -> Terms:
        return {
            "loss": Term("loss", NATS),
            "reconstruction": Term("−log p(x|codes)", NATS),
            "commitment": Term("squared distance of vectors and their codes", low=0),
            "perplexity": Term("perplexity of the codes in a batch", "codes", low=0, high=self.num_codes),
        }

    def vectors_of(self, batch: Batch) -> Tensor:
        """What the encoder says of images in [0, 1], before it is quantised: (B, num_positions, code_dim)."""
        outputs = self.in_use(self.encoder)(batch.images, batch.labels)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))  # distances need their digits
        return outputs.unflatten(1, (self.latent_shape[0], -1))

    def parameters_of_pixels(self, vectors: Tensor, labels: Tensor | None) -> Tensor:
        """Vectors (B, num_positions, code_dim) to the likelihood's parameters, (B, …, H, W)."""
        outputs = self.in_use(self.decoder)(vectors.flatten(1), labels)
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        seen = Batch(*batch)
        vectors = self.vectors_of(seen)
        codes = self.codebook.nearest(vectors)
        terms = self.objective(seen, vectors, codes)
        self.codebook.follow(vectors.detach(), codes)
        self.likelihood.follow(len(seen))
        return terms

    def objective(self, batch: Batch, vectors: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """The loss to descend and its terms, each a mean over the batch, given the encoder's vectors and their codes.

        `perplexity` is of the codes in the batch: as many codes that are used equally often have it.
        """
        codebook = self.in_use(self.codebook)
        quantised = codebook(codes).detach()
        straight_through = vectors + (quantised - vectors).detach()
        parameters = self.parameters_of_pixels(straight_through, batch.labels)
        reconstruction = -self.in_use(self.likelihood).log_prob(parameters, batch.images).mean()
        commitment = (vectors - quantised).square().sum(dim=(1, 2)).mean()
        return {
            "loss": reconstruction + codebook.loss(vectors, codes) + self.commitment * commitment,
            "reconstruction": reconstruction,
            "commitment": commitment,
            "perplexity": perplexity(codes, self.num_codes),
        }

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        seen = Batch(*batch)
        vectors = self.vectors_of(seen)
        return self.objective(seen, vectors, self.in_use(self.codebook).nearest(vectors))

    test_step = validation_step

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)

    def encode(self, batch: Batch) -> Latents:
        """Images in [0, 1] to their codes."""
        return Latents(self.in_use(self.codebook).nearest(self.vectors_of(batch)), self.known_labels(batch))

    def draws(self, batches: Iterable[Batch], times: int) -> Iterator[Latents]:
        return map(self.encode, batches)  # an image has one code

    def decode(self, latents: Latents) -> Tensor:
        parameters = self.parameters_of_pixels(self.in_use(self.codebook)(latents.z), latents.labels)
        return self.in_use(self.likelihood).mean(parameters)

    def latent_prior(self) -> Distribution:
        """Every code equally likely everywhere: what is assumed while training (section 3.2)."""
        logits = torch.zeros(*self.latent_shape, self.num_codes, device=self.device)
        return Independent(Categorical(logits=logits), len(self.latent_shape))


def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """e to the entropy of how often each code stands in `codes`: a scalar in [1, num_codes]."""
    each = torch.full_like(codes.flatten(), 1 / codes.numel(), dtype=torch.float32)
    shares = each.new_zeros(num_codes).index_add_(0, codes.flatten(), each)
    return torch.special.entr(shares).sum().exp()

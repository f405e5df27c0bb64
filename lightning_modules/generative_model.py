"""The interface that pictures and scores see: latents in, images out."""

from abc import ABC, abstractmethod

from torch import Tensor

from .image_model import ImageModel


class GenerativeModel(ImageModel, ABC):
    """A model that makes images from latents. One that can also infer latents defines `encode(images)`."""

    decodes_averaged = False  # whether `decode` uses averaged (EMA) weights in evaluation mode

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__(image_shape)
        self.latent_dim = latent_dim

    @abstractmethod
    def sample_latents(self, n: int) -> Tensor:
        """Draw (n, latent_dim) from the model's own prior, on the model's device."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, latent_dim) to images (B, C, H, W) in [0, 1].

        In evaluation mode a model that keeps averaged (EMA) weights decodes with those.
        """

"""What travels between models and the rest: images that are seen, and latents that images are drawn from."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

Rows = slice | Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels, where they are known. `batch[rows]` is the part of it in those rows."""

    images: Tensor  # (B, C, H, W), float32 in [0, 1]; inside a GAN in [-1, 1]
    labels: Tensor | None = None  # (B,), int64

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Rows) -> "Batch":
        return Batch(self.images[rows], None if self.labels is None else self.labels[rows])

    def with_images(self, images: Tensor) -> "Batch":
        """Other images of the same labels."""
        return Batch(images, self.labels)

    def detach(self) -> "Batch":
        return self.with_images(self.images.detach())

    def repeat(self, times: int) -> "Batch":
        """All rows, `times` times over: (times · B, …)."""
        if times == 1:
            return self
        labels = None if self.labels is None else self.labels.repeat(times)
        return Batch(self.images.repeat(times, 1, 1, 1), labels)


@dataclass(frozen=True, eq=False)
class Latents:
    """All that is random in images: of equal latents `decode` makes equal images. `latents[rows]` are some of them."""

    z: Tensor  # (B, *latent_shape)
    labels: Tensor | None = None  # (B,), int64; None for models that know no labels

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, rows: Rows) -> "Latents":
        return Latents(self.z[rows], None if self.labels is None else self.labels[rows])

    def split(self, size: int) -> Iterator["Latents"]:
        """Parts of at most `size` rows, in order."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

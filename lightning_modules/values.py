"""What travels between models and the rest: images that are seen, and latents that images are drawn from."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

Rows = slice | Tensor


class Batch(NamedTuple):
    """Images with their labels, where they are known. `batch[rows]` is the part of it in those rows."""

    images: Tensor  # (B, C, H, W), float32 in [0, 1]; inside a GAN in [-1, 1]
    labels: Tensor | None = None  # (B,), int64

    def __getitem__(self, rows: Rows) -> "Batch":  # type: ignore[override]  # by rows, as a tensor is
        return Batch(self.images[rows], None if self.labels is None else self.labels[rows])

    def repeat(self, times: int) -> "Batch":
        """All rows, `times` times over: (times · B, …)."""
        labels = None if self.labels is None else self.labels.repeat(times)
        return Batch(self.images.repeat(times, 1, 1, 1), labels)

    def detach(self) -> "Batch":
        return self._replace(images=self.images.detach())


class Latents(NamedTuple):
    """All that is random in images: of equal latents `decode` makes equal images."""

    z: Tensor  # (B, *latent_shape)
    labels: Tensor | None = None  # (B,), int64; None for models that know no labels

    def __getitem__(self, rows: Rows) -> "Latents":  # type: ignore[override]  # by rows, as a tensor is
        return Latents(self.z[rows], None if self.labels is None else self.labels[rows])

    def split(self, size: int) -> Iterator["Latents"]:
        """Parts of at most `size` rows, in order."""
        for start in range(0, len(self.z), size):
            yield self[start : start + size]


def joined(parts: list[Latents]) -> Latents:
    """The rows of all parts, in order."""
    labels = [part.labels for part in parts if part.labels is not None]
    return Latents(torch.cat([part.z for part in parts]), torch.cat(labels) if labels else None)

"""What scores need of a data set: three splits of real images, and what they are called."""

from pathlib import Path
from typing import Protocol

from datamodules.image_datamodule import LabelledImages


class RealImages(Protocol):
    """Every data module of this project offers these; `callbacks.foreign_data.real_images` has them of any other."""

    @property
    def title(self) -> str:
        """What the images are called in a score's protocol."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty where they are unknown."""

    @property
    def num_val(self) -> int: ...

    @property
    def num_test(self) -> int: ...

    @property
    def cache_folders(self) -> list[Path]:
        """Where what is computed from the images may be kept, in order of preference."""

    def split(self, name: str) -> LabelledImages:
        """The images of `train`, `val` or `test`, uint8 (N, C, H, W)."""

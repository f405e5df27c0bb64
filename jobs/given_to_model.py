"""What a trained model is given to work on, checked: images, latents and labels."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from datamodules.pixels import to_unit_range
from foundation.errors import UserError

Array = Tensor | np.ndarray
Label = int | str  # its number, or the name of its class
Labels = Label | Sequence[Label] | Tensor | np.ndarray


class GivenValueError(UserError):
    """A model was asked for what it can't do, or given what it can't take; the message says what it takes."""


def images_in_unit_range(given: Array, image_shape: tuple[int, ...]) -> Tensor:
    """Images (N, C, H, W), uint8 or in [0, 1], as float32 in [0, 1]. Raises GivenValueError."""
    images = torch.as_tensor(given)
    wanted = f"images: expected uint8, or floats in [0, 1], of the shape {in_words(image_shape)}"
    check_shape(images, image_shape, wanted)
    if images.dtype == torch.uint8:
        return to_unit_range(images)
    if not images.is_floating_point():
        raise GivenValueError(f"{wanted}, got {images.dtype}")
    low, high = (float(end) for end in images.aminmax())
    if not (low >= 0 and high <= 1):  # nan is neither
        raise GivenValueError(f"{wanted}, got floats from {low:.4g} to {high:.4g}")
    return images.float()


def latents_of_model(given: Array, latent_shape: tuple[int, ...], num_codes: int | None) -> Tensor:
    """Latents (N, *latent_shape): float32, or int64 below `num_codes` where they are codes. Raises GivenValueError."""
    z = torch.as_tensor(given)
    numbers = "finite numbers" if num_codes is None else f"codes, whole numbers from 0 to {num_codes - 1},"
    wanted = f"latents: expected {numbers} of the shape {in_words(latent_shape)}"
    check_shape(z, latent_shape, wanted)
    is_whole = not (z.is_floating_point() or z.is_complex() or z.dtype == torch.bool)
    if num_codes is None:
        if z.is_complex() or z.dtype == torch.bool or not z.float().isfinite().all():
            raise GivenValueError(f"{wanted}, got others, of {z.dtype}")
        return z.float()
    if not is_whole or z.min() < 0 or z.max() >= num_codes:
        raise GivenValueError(f"{wanted}, got others, of {z.dtype}")
    return z.long()


def labels_in_turn(given: Labels, class_names: Sequence[str], count: int) -> Tensor:
    """One label for each of `count` images, (count,), int64: those that are given, in turn. Raises GivenValueError."""
    if isinstance(given, int | str):
        several: list[Label] = [given]
    else:
        several = given.reshape(-1).tolist() if isinstance(given, Tensor | np.ndarray) else list(given)
    if not 0 < len(several) <= count:
        raise GivenValueError(
            f"labels: expected at least 1 and at most {count}, one for each image; got {len(several)}"
        )
    numbers = torch.tensor([number_of(label, class_names) for label in several])
    return numbers.repeat(-(-count // len(numbers)))[:count]


def number_of(label: Label, class_names: Sequence[str]) -> int:
    if isinstance(label, str) and label in class_names:
        return list(class_names).index(label)
    if isinstance(label, Integral) and not isinstance(label, bool) and 0 <= label < len(class_names):
        return int(label)
    raise GivenValueError(f"labels: there is no {label!r}; expected {known_labels(class_names)}")


def known_labels(class_names: Sequence[str]) -> str:
    return f"numbers from 0 to {len(class_names) - 1}, or names of classes: {', '.join(class_names)}"


def check_shape(tensor: Tensor, shape: tuple[int, ...], wanted: str) -> None:
    if tensor.dim() == 0 or len(tensor) == 0 or tuple(tensor.shape[1:]) != tuple(shape):
        raise GivenValueError(f"{wanted}, got the shape {tuple(tensor.shape)}")


def in_words(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"

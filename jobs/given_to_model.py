"""What a trained model is given to work on, checked: images, latents and labels."""

from collections.abc import Sequence
from numbers import Integral
from typing import cast

import numpy as np
import torch
from torch import Tensor

from datamodules.pixels import not_pixels, to_unit_range
from foundation.errors import UserError

Array = Tensor | np.ndarray
Label = int | str  # its number, or the name of its class
Labels = Label | Sequence[Label] | Tensor | np.ndarray


class GivenValueError(UserError):
    """A model was asked for what it can't do, or given what it can't take; the message says what it takes."""


def images_in_unit_range(given: Array, image_shape: tuple[int, ...]) -> Tensor:
    """Images (N, C, H, W), uint8 or in [0, 1], as float32 in [0, 1]. Raises GivenValueError."""
    wanted = f"images: expected uint8, or floats in [0, 1], of the shape {in_words(image_shape)}"
    images = as_tensor(given, wanted)
    check_shape(images, image_shape, wanted)
    if found := not_pixels(images):
        raise GivenValueError(f"{wanted}, got {found}")
    return to_unit_range(images) if images.dtype == torch.uint8 else images.float()


def latents_of_model(given: Array, latent_shape: tuple[int, ...], num_codes: int | None) -> Tensor:
    """Latents (N, *latent_shape): float32, or int64 below `num_codes` where they are codes. Raises GivenValueError."""
    numbers = "finite numbers" if num_codes is None else f"codes, whole numbers from 0 to {num_codes - 1},"
    wanted = f"latents: expected {numbers} of the shape {in_words(latent_shape)}"
    z = as_tensor(given, wanted)
    check_shape(z, latent_shape, wanted)
    is_whole = not (z.is_floating_point() or z.is_complex() or z.dtype == torch.bool)
    if num_codes is None:
        if z.is_complex() or z.dtype == torch.bool or not z.float().isfinite().all():
            raise GivenValueError(f"{wanted}, got others, of {z.dtype}")
        return z.float()
    codes = z.long()  # as such they can be compared, which PyTorch does not do with unsigned ones
    if not is_whole or codes.min() < 0 or codes.max() >= num_codes:
        raise GivenValueError(f"{wanted}, got others, of {z.dtype}")
    return codes


def labels_in_turn(given: Labels, class_names: Sequence[str], count: int) -> Tensor:
    """One label for each of `count` images, (count,), int64: those that are given, in turn. Raises GivenValueError."""
    if isinstance(given, int | Integral | str):  # mypy does not know that an int is Integral
        several = [given]
    elif isinstance(given, Tensor | np.ndarray):
        several = given.reshape(-1).tolist()
    else:
        try:
            several = list(given)
        except TypeError as error:
            raise GivenValueError(f"labels: expected {known_labels(class_names)}; got {given!r}") from error
    if not 0 < len(several) <= count:
        raise GivenValueError(
            f"labels: expected at least 1 and at most {count}, one for each image; got {len(several)}"
        )
    numbers = torch.tensor([number_of(label, class_names) for label in several])
    return numbers.repeat(-(-count // len(numbers)))[:count]


def number_of(label: Label, class_names: Sequence[str]) -> int:
    if isinstance(label, str) and label in class_names:
        return list(class_names).index(label)
    if is_whole_number(label) and 0 <= cast(int, label) < len(class_names):
        return int(label)
    raise GivenValueError(f"labels: there is no {label!r}; expected {known_labels(class_names)}")


def known_labels(class_names: Sequence[str]) -> str:
    return f"numbers from 0 to {len(class_names) - 1}, or names of classes: {', '.join(class_names)}"


def count_of_samples(given: int) -> int:
    """A number of images. Raises GivenValueError."""
    if not is_whole_number(given) or given < 1:
        raise GivenValueError(f"samples: expected a whole number, at least 1, got {given!r}")
    return int(given)


def checked_seed(given: int | None) -> int | None:
    """A seed as PyTorch takes it, or none. Raises GivenValueError."""
    if given is None:
        return None
    if not is_whole_number(given) or not 0 <= given < 2**64:
        raise GivenValueError(f"seed: expected a whole number from 0 to {2**64 - 1}, got {given!r}")
    return int(given)


def is_whole_number(given: object) -> bool:
    """Whether it is an integer, of Python or NumPy; True and False are none here."""
    return isinstance(given, Integral) and not isinstance(given, bool)


def as_tensor(given: Array, wanted: str) -> Tensor:
    """What PyTorch makes a tensor of. Raises GivenValueError, which begins with what is wanted."""
    try:
        if isinstance(given, np.ndarray):  # PyTorch takes neither the other byte order nor steps backwards
            given = np.asarray(given, dtype=given.dtype.newbyteorder("="), order="C")
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise GivenValueError(f"{wanted}, got a {type(given).__name__} that is no tensor: {error}") from error


def check_shape(tensor: Tensor, shape: tuple[int, ...], wanted: str) -> None:
    if tensor.dim() == 0 or len(tensor) == 0 or tuple(tensor.shape[1:]) != tuple(shape):
        raise GivenValueError(f"{wanted}, got the shape {tuple(tensor.shape)}")


def in_words(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, ('N', *shape)))})"

"""Scores of two arrays of images, whatever program they are of: no model, data module or run is needed."""

from inspect import signature

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from foundation.errors import ConfigError
from run_folder.choices import CONF

from .arithmetic import full_precision
from .extractors import FeatureExtractor
from .features import batches_of, features_of
from .fidelity import RealFeatures, newness, scores_of
from .given_arrays import as_image_channels, bytes_of, channels_first

Array = np.ndarray | Tensor


@full_precision()
def scores_of_images(
    real: Array,
    fake: Array,
    train: Array | None = None,
    extractor: str | FeatureExtractor = "reference",
    device: str | torch.device = "cpu",
    batch_size: int = 100,
) -> dict[str, float]:
    """fid, kid, precision, recall, density and coverage of fake images against real ones; `Scorer` says what they are.

    Images are uint8 (N, H, W, C) or (N, C, H, W), 1 or 3 channels, or what `read_archive` says is plainly as much; all
    of one size. fid is left out where there are fewer of either than the extractor has features; what needs neighbours
    where there are no six. With `train`, images that a model has learned from, also nearest_train.

    `extractor`: a choice of conf/scores (reference, inception, dinov2, clip), or one that is built. Values compare only
    with those of the same extractor and the same numbers of images. Raises ConfigError.
    """
    given = {"real": real, "fake": fake} | ({} if train is None else {"train": train})
    shape = shape_of(as_numpy(real))
    images = {name: images_in(array, shape, name) for name, array in given.items()}
    network = extractor_called(extractor, shape) if isinstance(extractor, str) else extractor
    features = {
        name: features_of(batches_of(of, batch_size), network, torch.device(device), f"features of {name} images")
        for name, of in images.items()
    }
    scores = scores_of(RealFeatures(features["real"]), features["fake"])
    if train is not None and (found := newness(features["fake"], features["real"], features["train"])) is not None:
        scores["nearest_train"] = found
    return scores


def shape_of(array: np.ndarray) -> tuple[int, int, int]:
    """(C, H, W) of images (N, H, W, C), (N, C, H, W) or, in grey, (N, H, W)."""
    if array.ndim == 3:
        return 1, array.shape[1], array.shape[2]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.shape[3], array.shape[1], array.shape[2]
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array.shape[1], array.shape[2], array.shape[3]
    raise ConfigError(f"real: expected images (N, H, W, C) of 1 or 3 channels, got the shape {array.shape}")


def as_numpy(given: Array) -> np.ndarray:
    array = given.numpy(force=True) if isinstance(given, Tensor) else np.asarray(given)
    return np.ascontiguousarray(array)  # PyTorch takes no reversed one


def images_in(given: Array, shape: tuple[int, int, int], name: str) -> Tensor:
    """uint8 (N, C, H, W). Raises ConfigError for what are no images of this shape, and for fewer than two."""
    array = as_numpy(given)
    images = channels_first(array, shape)
    channels, height, width = shape
    if images is None or len(images) < 2:
        raise ConfigError(
            f"{name}: expected two or more images (N, {height}, {width}, {channels}), got {array.dtype} {array.shape}"
        )
    in_channels = as_image_channels(bytes_of(images, f"{name} is {array.dtype} {array.shape}")[0], channels)
    if in_channels is None:
        raise ConfigError(f"{name}: expected grey images, as the real ones are, got colours")
    return in_channels.contiguous()


def extractor_called(name: str, image_shape: tuple[int, int, int]) -> FeatureExtractor:
    """The extractor of a choice of conf/scores, for such images of unknown classes. Raises ConfigError."""
    sections = {path.stem: OmegaConf.load(path).scores for path in sorted((CONF / "scores").glob("*.yaml"))}
    known = {choice: section.extractor for choice, section in sections.items() if section}
    if name not in known:
        raise ConfigError(f"extractor: there is no {name}; expected {', '.join(known)}, or a FeatureExtractor")
    factory = instantiate(known[name])
    facts = {"image_shape": image_shape, "class_names": ()}
    return factory(**{fact: value for fact, value in facts.items() if fact in signature(factory.func).parameters})

"""Feature extractors: what two sets of images are compared by. Each says exactly which network it is."""

import hashlib
import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics.image.fid import NoTrainInceptionV3

from foundation.errors import UserError

from .protocol import Protocol
from .reference import load_reference, reference_file


class WeightsError(UserError):
    """An extractor's weights are missing or not the right ones; the message says which and what to do."""


class FeatureExtractor(nn.Module):
    """uint8 images (B, C, H, W) to features (B, num_features); frozen, always in evaluation mode."""

    num_features: int
    protocol: Protocol  # what a score measured with it has to state
    class_names: tuple[str, ...] = ()  # of a classifier that can tell its classes apart by the features

    def train(self, mode: bool = True) -> "FeatureExtractor":
        return super().train(False)  # metrics switch their parts to training mode

    def classify(self, features: Tensor) -> Tensor:
        """Features (N, num_features) to the probabilities of `class_names`, (N, num_classes)."""
        raise NotImplementedError


class ReferenceExtractor(FeatureExtractor):
    """The penultimate features of this project's own classifier: of MNIST for grey images, Imagenette for colour.

    Images of another size are resized to the classifier's (bilinear, antialiased).
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        path = reference_file(channels=image_shape[0])
        self.classifier, facts = load_reference(path)
        self.classifier.to(memory_format=torch.channels_last)  # faster on CPUs and GPUs alike
        self.num_features = self.classifier.num_features
        self.class_names = tuple(json.loads(facts["class_names"]))
        self.size = self.classifier.image_shape[1:]
        self.requires_grad_(False).eval()
        self.protocol = {
            "extractor": f"reference/{path.stem}",
            "sha256": sha256(path),
            "num_features": self.num_features,
            "resize": f"bilinear, antialiased, to {self.size[0]}x{self.size[1]}",
        }

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255
        if pixels.shape[-2:] != self.size:
            pixels = interpolate(pixels, self.size, mode="bilinear", antialias=True)
        return self.classifier.features(pixels)

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier.head(features).softmax(dim=1)


class InceptionExtractor(FeatureExtractor):
    """Inception v3's pool features with TensorFlow's weights and resizing: the FID of the literature.

    The weights are looked for at `weights`, then in torch's hub folder, then fetched to there; their sha256
    must begin with `sha256_prefix`. Raises WeightsError.
    """

    num_features = 2048

    def __init__(self, image_shape: tuple[int, int, int], weights: str | None, url: str, sha256_prefix: str) -> None:
        super().__init__()
        path = find_weights(weights, url, sha256_prefix)
        self.network = NoTrainInceptionV3(
            name="inception-v3-compat",
            features_list=[str(self.num_features)],
            feature_extractor_weights_path=str(path),
            antialias=False,  # TensorFlow 1's resizing, which published numbers use
        )
        self.requires_grad_(False).eval()
        self.protocol = {
            "extractor": "inception-v3-compat",
            "sha256": sha256(path),
            "num_features": self.num_features,
            "resize": "TensorFlow 1 bilinear, not antialiased, to 299x299",
        }

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.expand(-1, 3, -1, -1))  # grey is repeated over the three channels


def find_weights(weights: str | None, url: str, sha256_prefix: str) -> Path:
    """The Inception weight file, checked before anything unpickles it. Raises WeightsError."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    path = Path(weights).expanduser() if weights else cached
    if not path.is_file():
        if weights:
            raise WeightsError(
                f"scores.extractor.weights: there is no file {path}; give the path of the Inception weights"
            )
        fetch_weights(url, path, sha256_prefix)
    found = sha256(path)
    if not found.startswith(sha256_prefix):
        raise WeightsError(
            f"{path} is not the expected Inception network: its sha256 is {found}, expected to begin "
            f"with {sha256_prefix}. Delete it to have it fetched again; for another file set "
            "scores.extractor.sha256_prefix="
        )
    return path


def fetch_weights(url: str, path: Path, sha256_prefix: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256_prefix)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"scores=inception needs the Inception weights and they can't be fetched ({error}). Put the file from "
            f"{url} to {path}, or set scores.extractor.weights=<its path>, or use scores=reference, which needs "
            "no download"
        ) from error


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

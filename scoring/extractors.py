"""Feature extractors: what two sets of images are compared by. Each says exactly which network it is."""

import io
import json
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, FeatureExtractorCLIP
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2
from torchmetrics.image.fid import NoTrainInceptionV3

from datamodules.pixels import to_unit_range

from . import dinov2
from .protocol import Protocol
from .reference import load_reference, reference_file
from .weight_files import WeightsError, find_weights, sha256

Sha256Prefix = Annotated[str, MinLen(8)]  # of a shorter one, files are made in no time


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
    """The penultimate features of one of this project's own classifiers, in scoring/reference_weights.

    Of `trained_on`, or where that is None of the one that was trained on data like this: `reference_file` says which.
    Images of another size are resized to the classifier's (bilinear, antialiased). Raises ConfigError.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        class_names: tuple[str, ...],
        trained_on: Literal["digits", "imagenette", "mnist"] | None,
    ) -> None:
        super().__init__()
        path = reference_file(tuple(image_shape), tuple(class_names), trained_on)
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
        pixels = to_unit_range(images)
        if pixels.shape[-2:] != self.size:
            pixels = interpolate(pixels, self.size, mode="bilinear", antialias=True)
        return self.classifier.features(pixels)

    def classify(self, features: Tensor) -> Tensor:
        return self.classifier.head(features).softmax(dim=1)


class PretrainedExtractor(FeatureExtractor):
    """Base of the networks that others trained, as torch-fidelity uses them.

    The weights are looked for at `weights`, then in torch's hub folder under torch-fidelity's name, then fetched to
    there; their sha256 must begin with `sha256_prefix` before anything loads them. Raises WeightsError.
    """

    choice: str  # of scores=, by which the command line knows it
    name: str  # by which torch-fidelity knows it

    def __init__(self, weights: str | None, url: str, sha256_prefix: Sha256Prefix) -> None:
        super().__init__()
        path = find_weights(self.choice, weights, url, self.file_name(url), sha256_prefix)
        try:
            self.network = self.load(path)
        except (KeyError, ValueError, RuntimeError, UnpicklingError) as error:
            raise WeightsError(f"{path} is no network of {self.name}'s form ({error})") from error
        self.requires_grad_(False).eval()
        self.protocol = {
            "extractor": self.name,
            "sha256": sha256(path),
            "num_features": self.num_features,
            "resize": f"TensorFlow 1 bilinear, not antialiased, to {self.size}x{self.size}",
        }

    def file_name(self, url: str) -> str:
        """What the file is called in torch's hub folder."""
        return url.rsplit("/", 1)[-1]

    def load(self, path: Path) -> nn.Module:
        """The network of a file, and with it `num_features`; from uint8 (B, 3, H, W) to features."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Of the images that the network sees, in pixels."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        features = self.network(images.expand(-1, 3, -1, -1))  # grey is repeated over the three channels
        return features[0] if isinstance(features, tuple) else features


class InceptionExtractor(PretrainedExtractor):
    """Inception v3's pool features with TensorFlow's weights and resizing: the FID of the literature."""

    choice, name, num_features, size = "inception", "inception-v3-compat", 2048, 299

    def load(self, path: Path) -> nn.Module:
        # torch-fidelity unpickles whatever is in the file: it gets tensors alone, written anew.
        tensors = io.BytesIO()
        torch.save(torch.load(path, map_location="cpu", weights_only=True), tensors)
        tensors.seek(0)
        return NoTrainInceptionV3(
            name=self.name,
            features_list=[str(self.num_features)],
            feature_extractor_weights_path=tensors,  # type: ignore[arg-type]  # for torch.load, which takes both
            antialias=False,  # TensorFlow 1's resizing, which published numbers use
        )


class CLIPExtractor(PretrainedExtractor):
    """CLIP's image embedding, of ViT-B/32 (Radford et al. 2021, arXiv:2103.00020): learned from captions."""

    choice, name = "clip", "clip-vit-b-32"

    def file_name(self, url: str) -> str:
        return f"{self.name}-{MODEL_METADATA[self.name]['hash']}.pt"

    def load(self, path: Path) -> FeatureExtractorCLIP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the TorchScript that CLIP's file is written in
            network = FeatureExtractorCLIP(self.name, ["clip"], feature_extractor_weights_path=str(path))
        self.num_features, self.resolution = network.model.visual.output_dim, network.resolution
        return network

    @property
    def size(self) -> int:
        return self.resolution


class DINOv2Extractor(PretrainedExtractor):
    """DINOv2's class token, of ViT-B/14: learned without labels; FD-DINOv2 of Stein et al. 2023 (arXiv:2306.04675).

    Not their number: they resize otherwise than torch-fidelity, whose choice this follows.
    """

    choice, name = "dinov2", "dinov2-vit-b-14"
    size = FeatureExtractorDinoV2.INPUT_IMAGE_SIZE

    def load(self, path: Path) -> FeatureExtractorDinoV2:
        network = dinov2.from_published(torch.load(path, map_location="cpu", weights_only=True))
        self.num_features = network.norm.weight.shape[0]
        return DINOv2WithGivenNetwork(self.name, network)


class DINOv2WithGivenNetwork(FeatureExtractorDinoV2):
    """torch-fidelity's extractor, which else has torch.hub fetch code and weights that nothing checks."""

    def __init__(self, name: str, network: dinov2.DINOv2) -> None:
        FeatureExtractorBase.__init__(self, name, ["dinov2"])
        self.model, self.feature_extractor_internal_dtype = network, torch.float32

"""Samples against a data set's real images: every score from one pass of features, under one stated protocol."""

from functools import cached_property
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule

from .classes import class_scores, missing_modes
from .extractors import FeatureExtractor
from .features import GivenSamples, ModelSamples, features_of, real_features
from .fidelity import COVERAGE_NEIGHBOUR, KID_SUBSETS, PRECISION_NEIGHBOUR, RealSide, kid_subset_size, nearest
from .protocol import Protocol, content_hash, short_hash

TRUSTED_ABOVE = 0.75  # accuracy on the real test images, below which a classifier's classes are not told
CLOSEST = 10  # fakes that are shown beside their nearest training images


class Report(NamedTuple):
    """What is told of a model's samples."""

    scores: dict[str, dict[str, Any]]  # {score: {value, std, floor, protocol's hash}}
    protocol: Protocol
    classes: dict[str, dict[str, float]]  # {"real" and "generated": {class: share}}; empty for unknown classes
    closest: Tensor  # (CLOSEST, C, H, W) in [0, 1]: the fakes nearest to a training image
    neighbours: Tensor  # (CLOSEST, C, H, W) in [0, 1]: those training images


class Scorer:
    """Measures samples; every score but fid and kid is between 0 and 1, or around 1.

    fid, kid: distances, the smaller the better; kid_subset_std is KID's customary spread. precision, density: how
    good the fakes are. recall, coverage: how varied. missing_modes, confidence: classes that are all but absent,
    and how sure the classifier is of its verdict on a fake; where it tells this data's classes apart.
    nearest_train: the median distance of fakes to their nearest training image, over that of real test images:
    around 1, as new as those; near 0, copies.

    `num_train` training images, or all of them, serve as those neighbours and for the floor: the scores of real
    images, as many as there are fakes. `seed` chooses them, and draws latents and KID's subsets.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        datamodule: ImageDataModule,
        num_fakes: int | None,
        num_train: int | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.extractor, self.datamodule = extractor, datamodule
        self.num_fakes, self.num_train, self.batch_size, self.seed = num_fakes, num_train, batch_size, seed
        self.device = torch.device("cpu")  # where features are computed and compared
        self._real: dict[str, RealSide] = {}

    def frechet_distance(self, samples: ModelSamples | GivenSamples, split: str, seed: int) -> float:
        """FID between one draw of fakes and the real images of `val` or `test`."""
        fakes = self._features(samples, self.num_fakes or len(self.datamodule.split(split).images), seed)
        return self._real_side(split).frechet_distance(fakes)

    def report(self, samples: ModelSamples | GivenSamples, repeats: int) -> Report:
        """Every score against the test split: its mean and standard deviation over draws of fakes."""
        protocol = self.protocol
        count = protocol["num_fakes"]
        draws = [self._features(samples, count, self.seed + repeat) for repeat in range(repeats)]
        measured = [self._scores(fakes) | self._novelty(fakes) for fakes in draws]
        floor = self._scores(self._train_features[:count]) if len(self._train_features) >= count else {}
        closest, neighbours = self._closest(draws[0])
        return Report(
            scores={
                name: {
                    "value": fmean(drawn := [scores[name] for scores in measured]),
                    "std": stdev(drawn) if len(drawn) > 1 else None,
                    "floor": floor.get(name),
                    "protocol": short_hash(protocol),
                }
                for name in measured[0]
            },
            protocol=protocol,
            classes=self._class_shares(draws[0]) if self._knows_classes else {},
            closest=samples.at(closest, count, self.seed) / 255,
            neighbours=self._train_images[neighbours] / 255,
        )

    @property
    def protocol(self) -> Protocol:
        """Everything that two numbers must share to stand in one column."""
        real = self.datamodule.split("test").images
        num_fakes = self.num_fakes or len(real)
        return {
            **self.extractor.protocol,
            "data": type(self.datamodule).__name__,
            "split": "test",
            "split_sha256": content_hash(real),
            "num_real": len(real),
            "num_fakes": num_fakes,
            "num_train": len(self._train_images),
            "pixels": "uint8, rounded",
            "weights": "averaged (EMA) where the model keeps them",
            "seed": self.seed,
            "kid": f"{KID_SUBSETS} subsets of {kid_subset_size(len(real), num_fakes)}",
            "precision_recall": f"k = {PRECISION_NEIGHBOUR}",
            "density_coverage": f"k = {COVERAGE_NEIGHBOUR}",
        }

    def _scores(self, fakes: Tensor) -> dict[str, float]:
        real = self._real_side("test")
        kid, kid_spread = real.kernel_distance(fakes, self.seed)
        scores = {
            "fid": real.frechet_distance(fakes),
            "kid": kid,
            "kid_subset_std": kid_spread,
            **real.manifold_scores(fakes),
        }
        if self._knows_classes:
            told, truth = (class_scores(self.extractor.classify(features)) for features in (fakes, real.features))
            scores["missing_modes"] = missing_modes(told.shares, truth.shares)
            scores["confidence"] = told.confidence
        return scores

    def _novelty(self, fakes: Tensor) -> dict[str, float]:
        distance, _ = nearest(fakes, among=self._train_features)
        return {"nearest_train": float(distance.median() / self._distance_of_unseen)}

    @cached_property
    def _distance_of_unseen(self) -> Tensor:
        return nearest(self._real_side("test").features, among=self._train_features)[0].median()

    def _closest(self, fakes: Tensor) -> tuple[Tensor, Tensor]:
        """The fakes nearest to a training image, and which image that is: indices (CLOSEST,) each."""
        distance, neighbour = nearest(fakes, among=self._train_features)
        closest = distance.topk(min(CLOSEST, len(distance)), largest=False).indices
        return closest.cpu(), neighbour[closest].cpu()

    def _class_shares(self, fakes: Tensor) -> dict[str, dict[str, float]]:
        shown = {"real": self._real_side("test").features, "generated": fakes}
        return {
            source: dict(zip(self.extractor.class_names, shares.tolist(), strict=True))
            for source, features in shown.items()
            for shares in [class_scores(self.extractor.classify(features)).shares]
        }

    @cached_property
    def _knows_classes(self) -> bool:
        """Whether the extractor is a classifier of this data's classes, and right about most real images."""
        if self.extractor.class_names != tuple(self.datamodule.class_names):
            return False
        predicted = self.extractor.classify(self._real_side("test").features).argmax(dim=1).cpu()
        accuracy = (predicted == self.datamodule.split("test").labels).float().mean()
        return bool(accuracy >= TRUSTED_ABOVE)

    def _real_side(self, split: str) -> RealSide:
        if split not in self._real:
            self._real[split] = RealSide(self._real_features(self.datamodule.split(split).images))
        return self._real[split]

    @cached_property
    def _train_images(self) -> Tensor:
        images = self.datamodule.split("train").images
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        return images[order[: self.num_train]]

    @cached_property
    def _train_features(self) -> Tensor:
        return self._real_features(self._train_images)

    def _real_features(self, images: Tensor) -> Tensor:
        return real_features(images, self.extractor, self.batch_size, self.device, self.datamodule.cache_folders)

    def _features(self, samples: ModelSamples | GivenSamples, count: int, seed: int) -> Tensor:
        return features_of(samples.draw(count, seed), self.extractor, self.device)

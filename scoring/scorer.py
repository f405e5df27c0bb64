"""Samples against a data set's real images: every score from one pass of features, under one stated protocol."""

import json
from functools import cached_property
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.disk_cache import load_cached, store_cached
from datamodules.image_datamodule import ImageDataModule, LabelledImages
from run_folder.records import Score

from .classes import MISSING_BELOW, class_scores, missing_modes
from .extractors import FeatureExtractor
from .features import Samples, cached_features, features_of, true_on_all_ranks
from .fidelity import COVERAGE_NEIGHBOUR, KID_SUBSETS, PRECISION_NEIGHBOUR, RealFeatures, kid_subset_size, nearest
from .protocol import Protocol, chosen_indices, content_hash, short_hash

TRUSTED_ABOVE = 0.75  # accuracy on the real test images, below which a classifier's classes are not told
CLOSEST = 10  # fakes that are shown beside their nearest training images


class ScoreReport(NamedTuple):
    """Every score of one model's samples, and the images and class shares that go with them."""

    scores: dict[str, Score]
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
        self._real_by_split: dict[str, RealFeatures] = {}

    def frechet_distance(self, samples: Samples, split: str, seed: int) -> float:
        """FID between one draw of fakes and the real images of `val` or `test`."""
        fakes = self._features(samples, self.num_fakes or len(self.datamodule.split(split).images), seed)
        return self._real(split).frechet_distance(fakes)

    def report(self, samples: Samples, repeats: int) -> ScoreReport:
        """Every score against the test split: its mean and standard deviation over draws of fakes."""
        protocol = self.protocol
        num_fakes = protocol["num_fakes"]
        draws = [self._features(samples, num_fakes, self.seed + repeat) for repeat in range(repeats)]
        real = self._scores_of_real(protocol)
        to_train = [nearest(fakes, among=self._train_features) for fakes in draws]
        measured = [
            self._scores(fakes) | {"nearest_train": float(distance.median()) / real["unseen"]}
            for fakes, (distance, _) in zip(draws, to_train, strict=True)
        ]
        closest, neighbours = closest_pairs(*to_train[0])
        return ScoreReport(
            scores={
                name: _score([scores[name] for scores in measured], real.get(name), protocol, samples)
                for name in measured[0]
            },
            protocol=protocol,
            classes=self._class_shares(draws[0]) if self._knows_classes else {},
            closest=samples.at(closest, num_fakes, self.seed) / 255,
            neighbours=self._train.images[self._train_indices[neighbours]] / 255,
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
            "num_train": len(self._train_indices),
            "train_sha256": content_hash(self._train_images),
            "pixels": "uint8, rounded",
            "weights": "averaged (EMA) where the model keeps them",
            "seed": self.seed,
            "kid": f"{KID_SUBSETS} subsets of {kid_subset_size(len(real), num_fakes)}",
            "precision_recall": f"k = {PRECISION_NEIGHBOUR}",
            "density_coverage": f"k = {COVERAGE_NEIGHBOUR}",
            "missing_modes": f"below {MISSING_BELOW} of the real share",
        }

    def _scores(self, fakes: Tensor) -> dict[str, float]:
        real = self._real("test")
        kid, kid_spread = real.kernel_distance(fakes, self.seed)
        scores = {
            "fid": real.frechet_distance(fakes),
            "kid": kid,
            "kid_subset_std": kid_spread,
            **real.manifold_scores(fakes),
        }
        if self._knows_classes:
            generated, true = class_scores(self._classify(fakes)), class_scores(self._classify(real.features))
            scores["missing_modes"] = missing_modes(generated.shares, true.shares)
            scores["confidence"] = generated.confidence
        return scores

    def _scores_of_real(self, protocol: Protocol) -> dict[str, float]:
        """Scores of training images, where they are as many as the fakes; and `unseen`, of test images among them.

        `unseen` is the median distance of test images to their nearest training image. Computed once for each
        protocol, then kept on disk.
        """
        labels = content_hash(self.datamodule.split("test").labels)
        facts = {"protocol": json.dumps(protocol, sort_keys=True), "labels": labels}
        name, folders = f"real-{short_hash(protocol)}.safetensors", self.datamodule.cache_folders
        stored = load_cached(name, folders, facts)
        found_by_all = true_on_all_ranks(stored is not None)
        if stored is None or not found_by_all:
            train, count = self._train_features, protocol["num_fakes"]
            unseen, _ = nearest(self._real("test").features, among=train)
            found = (self._scores(train[:count]) if len(train) >= count else {}) | {"unseen": float(unseen.median())}
            stored = {key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()}
            store_cached(stored, name, folders, facts)
        return {key: value.item() for key, value in stored.items()}

    def _class_shares(self, fakes: Tensor) -> dict[str, dict[str, float]]:
        """{"real" and "generated": {class: share of the images}}."""
        features = {"real": self._real("test").features, "generated": fakes}
        shares = {source: class_scores(self._classify(rows)).shares.tolist() for source, rows in features.items()}
        return {source: dict(zip(self.extractor.class_names, of, strict=True)) for source, of in shares.items()}

    @cached_property
    def _knows_classes(self) -> bool:
        """Whether the extractor is a classifier of this data's classes, and right about most real images."""
        if self.extractor.class_names != tuple(self.datamodule.class_names):
            return False
        predicted = self._classify(self._real("test").features).argmax(dim=1)
        accuracy = (predicted == self.datamodule.split("test").labels).float().mean()
        return bool(accuracy >= TRUSTED_ABOVE)

    def _classify(self, features: Tensor) -> Tensor:
        return self.extractor.to(self.device).classify(features.to(self.device)).cpu()

    def _real(self, split: str) -> RealFeatures:
        if split not in self._real_by_split:
            self._real_by_split[split] = RealFeatures(self._cached_features(self.datamodule.split(split).images))
        return self._real_by_split[split]

    @property
    def _train(self) -> LabelledImages:
        return self.datamodule.split("train")

    @cached_property
    def _train_indices(self) -> Tensor:
        """Which training images are used, in the order in which the floor takes them."""
        return chosen_indices(len(self._train.images), self.num_train, self.seed)

    @property
    def _train_images(self) -> Tensor:
        """Those images in the split's own order, so that one file of features serves every seed."""
        if len(self._train_indices) == len(self._train.images):
            return self._train.images  # no copy: they may be mapped from a file that is larger than the memory
        return self._train.images[self._train_indices.sort().values]

    @cached_property
    def _train_features(self) -> Tensor:
        return self._cached_features(self._train_images)[ranks(self._train_indices)]

    def _cached_features(self, images: Tensor) -> Tensor:
        return cached_features(images, self.extractor, self.batch_size, self.device, self.datamodule.cache_folders)

    def _features(self, samples: Samples, count: int, seed: int) -> Tensor:
        return features_of(samples.draw(count, seed), self.extractor, self.device)


def _score(values: list[float], floor: float | None, protocol: Protocol, samples: Samples) -> Score:
    """The mean and standard deviation of a score's values over draws of fakes."""
    return Score(
        value=fmean(values),
        std=stdev(values) if len(values) > 1 else None,
        floor=floor,
        protocol=short_hash(protocol),
        weights=samples.weights,
        latents=samples.latents_from,
    )


def ranks(indices: Tensor) -> Tensor:
    """The place of each index, all of them different, among all in ascending order."""
    return torch.searchsorted(indices.sort().values, indices)


def closest_pairs(distance: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of the closest fakes, and of the training image nearest to each.

    From the distance of every fake to its nearest training image, and that image's index.
    """
    closest = distance.topk(min(CLOSEST, len(distance)), largest=False).indices
    return closest.cpu(), neighbour[closest].cpu()

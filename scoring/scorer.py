"""Samples against a data set's real images: every score from one pass of features, under one stated protocol."""

from collections.abc import Callable
from functools import cached_property, partial
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.disk_cache import load_cached, store_cached
from datamodules.image_datamodule import LabelledImages
from datamodules.pixels import to_unit_range
from foundation.progress import task, track
from run_folder.judgements import LOW_RECALL
from run_folder.records import Score

from .arithmetic import full_precision
from .classes import MISSING_BELOW, class_scores, missing_modes
from .extractors import FeatureExtractor
from .features import Batches, Samples, cached_features, features_of, true_on_all_ranks
from .fidelity import (
    COVERAGE_NEIGHBOUR,
    PRECISION_NEIGHBOUR,
    RealFeatures,
    is_duplicate,
    nearest,
    nearest_few,
    scores_of,
    typical_distance,
)  # fmt: skip
from .protocol import Protocol, chosen_indices, content_hash, deciding, short_hash
from .real_images import RealImages

TRUSTED_ABOVE = 0.75  # accuracy on the real test images, below which a classifier's classes are not told
SHOWN = 10  # fakes that are shown with training images: those closest to one, and as many that are drawn at random
NEIGHBOURS = 5  # training images that are shown with each
LOOKED_AT = 1000  # fakes whose pixels are compared for their diversity


class Neighbourhoods(NamedTuple):
    """Fakes with the training images nearest to each, by the distance of features."""

    fakes: Tensor  # (N, C, H, W) in [0, 1]
    neighbours: Tensor  # (N, K, C, H, W) in [0, 1], the nearest first
    distances: Tensor  # (N, K)


class ScoreReport(NamedTuple):
    """Every score of one model's samples, and the images and class shares that go with them."""

    scores: dict[str, Score]
    protocol: Protocol
    extractor_accuracy: float | None  # on the real test images; None where its classes are not theirs
    sample_diversity: float | None  # of fakes, over that of real test images; 0, if all are the same
    notes: list[str]  # what is left out, and what says little
    classes: dict[str, dict[str, float]]  # {"real" and "generated": {class: share}}; empty for unknown classes
    closest: Neighbourhoods  # of those fakes that are nearest to a training image
    random: Neighbourhoods  # of fakes that are picked at random
    unseen: float | None  # the median distance of test images to their nearest training image; None of duplicates


class Glance(NamedTuple):
    """What one draw of fakes shows while a model is trained."""

    distance: float  # FID, or KID where that can't be measured
    sample_diversity: float | None  # as in a ScoreReport
    missing_modes: float | None  # the share of classes; None where the classifier does not know them


class Scorer:
    """Measures samples; every score but fid and kid is between 0 and 1, or around 1.

    fid, kid: distances, the smaller the better; fid where there are as many images as features. precision, density:
    how good the fakes are; they say little where recall is near 0, for grey noise can lie in the densest part of the
    real images. recall, coverage: how varied. missing_modes, confidence: classes that are all but absent, and how
    sure the classifier is of its verdict on a fake; where it tells this data's classes apart. nearest_train: the
    median distance of fakes to their nearest training image, over that of real test images: around 1, as new as
    those; near 0, copies; left out where most test images have duplicates among the training images.

    `num_train` training images, or all of them, serve as those neighbours and for the floor: the scores of real
    images, as many as there are fakes. `seed` chooses them, and draws latents.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        datamodule: RealImages,
        num_fakes: int | None,
        num_train: int | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.extractor, self.datamodule = extractor, datamodule
        self.num_fakes, self.num_train, self.batch_size, self.seed = num_fakes, num_train, batch_size, seed
        self.device = torch.device("cpu")  # where features are computed and compared
        self._real_by_split: dict[str, RealFeatures] = {}
        self._probabilities: dict[str, Tensor] = {}  # of classes, of real images by split
        self._accuracies: dict[str, float] = {}  # of the extractor, by split
        self._deviations: dict[str, float] = {}  # of real images' pixels, by split

    def can_measure_fid(self, split: str) -> bool:
        """Whether there are as many images of `val` or `test`, and fakes, as features."""
        num_real = {"val": self.datamodule.num_val, "test": self.datamodule.num_test}[split]
        return min(num_real, self.num_fakes or num_real) >= self.extractor.num_features

    def distance(self, samples: Samples, split: str, seed: int) -> float:
        """Of one draw of fakes to the real images of `val` or `test`: FID, or KID where that can't be measured."""
        return self.glance(samples, split, seed).distance

    @full_precision()
    def glance(self, samples: Samples, split: str, seed: int) -> Glance:
        """One draw of fakes, each made once, against the real images of `val` or `test`.

        Of several devices each compares the pixels of its own fakes.
        """
        count = self.num_fakes or len(self.datamodule.split(split).images)
        spread = PixelSpread(at_most=LOOKED_AT)
        watched = spread.watching(samples.draw(count, seed))
        fakes = features_of(watched, self.extractor, self.device, f"samples against {split}")
        real = self._real(split)
        measure = real.frechet_distance if self.can_measure_fid(split) else real.kernel_distance
        return Glance(measure(fakes), self._diversity(spread.deviation, split), self._missing_modes(fakes, split))

    @full_precision()
    def report(self, samples: Samples, repeats: int) -> ScoreReport:
        """Every score against the test split: its mean and standard deviation over draws of fakes."""
        protocol = self.protocol
        num_fakes = protocol["num_fakes"]
        draws = [
            features_of(
                samples.draw(num_fakes, self.seed + repeat),
                self.extractor,
                self.device,
                f"samples against test, draw {repeat + 1} of {repeats}",
            )
            for repeat in range(repeats)
        ]
        of_real = self._scores_of_real(protocol)
        to_train = [
            nearest(fakes, among=self._train_features)
            for fakes in track(draws, repeats, "nearest training images", "draws")
        ]
        measured = [self._scores(fakes) for fakes in track(draws, repeats, "scores of samples", "draws")]
        if not has_duplicates(of_real):
            for scores, (distance, _) in zip(measured, to_train, strict=True):
                scores["nearest_train"] = float(distance.median()) / of_real["unseen"]
        found = {
            name: _score([scores[name] for scores in measured], of_real.get(name), protocol, samples)
            for name in measured[0]
        }
        closest = to_train[0][0].cpu().topk(min(SHOWN, num_fakes), largest=False).indices
        random = chosen_indices(num_fakes, SHOWN, self.seed)
        return ScoreReport(
            scores=found,
            protocol=protocol,
            extractor_accuracy=self.extractor_accuracy,
            sample_diversity=self._sample_diversity(samples, num_fakes),
            notes=[*self._left_out(of_real), *_says_little(found)],
            classes=self._class_shares(draws[0]) if self._knows_classes("test") else {},
            closest=self._neighbourhoods(samples, draws[0], closest),
            random=self._neighbourhoods(samples, draws[0], random),
            unseen=None if has_duplicates(of_real) else of_real["unseen"],
        )

    @property
    def protocol(self) -> Protocol:
        """Everything that two numbers must share to stand in one column."""
        real = self.datamodule.split("test").images
        num_fakes = self.num_fakes or len(real)
        return {
            **self.extractor.protocol,
            "data": self.datamodule.title,
            "split": "test",
            "split_sha256": content_hash(real),
            "num_real": len(real),
            "num_fakes": num_fakes,
            "num_train": len(self._train_indices),
            "train_sha256": content_hash(self._train_images),
            "pixels": "uint8, rounded",
            "seed": self.seed,
            "kid": "unbiased, all pairs of images",
            "precision_recall": f"k = {PRECISION_NEIGHBOUR}",
            "density_coverage": f"k = {COVERAGE_NEIGHBOUR}",
            "missing_modes": f"below {MISSING_BELOW} of the real share",
        }

    def _scores(self, fakes: Tensor) -> dict[str, float]:
        real = self._real("test")
        scores = scores_of(real, fakes)
        missing = self._missing_modes(fakes, "test")
        if missing is not None:
            scores["missing_modes"] = missing
            scores["confidence"] = class_scores(self._classify(fakes)).confidence
        return scores

    def _missing_modes(self, fakes: Tensor, split: str) -> float | None:
        """None where the classes are not known."""
        if not self._knows_classes(split):
            return None
        return missing_modes(class_scores(self._classify(fakes)).shares, self._real_shares(split))

    def _real_shares(self, split: str) -> Tensor:
        """The share of each class among real images, as the classifier sees them."""
        return class_scores(self._real_probabilities(split)).shares

    def _real_probabilities(self, split: str) -> Tensor:
        """(N, num_classes) of real images, which the classifier sees once."""
        if split not in self._probabilities:
            self._probabilities[split] = self._classify(self._real(split).features)
        return self._probabilities[split]

    def _scores_of_real(self, protocol: Protocol) -> dict[str, float]:
        """Scores of training images, where they are as many as the fakes; and distances, `unseen` and `typical`.

        `unseen` is the median distance of test images to their nearest training image, `typical` that of two training
        images. Computed once for each protocol, then kept on disk.
        """
        labels = content_hash(self.datamodule.split("test").labels)
        facts = {"protocol": deciding(protocol), "labels": labels}
        name, folders = f"real-{short_hash(protocol)}.safetensors", self.datamodule.cache_folders
        stored = load_cached(name, folders, facts)
        found_by_all = true_on_all_ranks(stored is not None)
        if stored is None or not found_by_all:
            real, train, count = self._real("test").features, self._train_features, protocol["num_fakes"]
            with task("scores of real images", 2, "steps") as progress:
                unseen, _ = nearest(real, among=train)
                progress.advance()
                found = self._scores(train[:count]) if len(train) >= count else {}
                progress.advance()
            found |= {"unseen": float(unseen.median()), "typical": typical_distance(train)}
            stored = {key: torch.tensor(value, dtype=torch.float64) for key, value in found.items()}
            store_cached(stored, name, folders, facts)
        return {key: value.item() for key, value in stored.items()}

    def _neighbourhoods(self, samples: Samples, features: Tensor, chosen: Tensor) -> Neighbourhoods:
        """Of chosen ones of the first draw's fakes, whose features are given."""
        distances, indices = nearest_few(features[chosen], self._train_features, NEIGHBOURS)
        images = self._train.images[self._train_indices[indices.flatten()]]
        return Neighbourhoods(
            to_unit_range(samples.at(chosen, len(features), self.seed)),
            to_unit_range(images).unflatten(0, indices.shape),
            distances,
        )

    def _left_out(self, of_real: dict[str, float]) -> list[str]:
        """Which scores are not reported, and why."""
        notes = []
        if not self.can_measure_fid("test"):
            num_test = self.datamodule.num_test
            notes.append(
                f"no fid: {min(num_test, self.num_fakes or num_test)} images are fewer than the extractor's "
                f"{self.extractor.num_features} features; kid has no bias to fear from that"
            )
        if has_duplicates(of_real):
            notes.append("no nearest_train: most test images have duplicates among the training images")
        return notes

    def _sample_diversity(self, samples: Samples, count: int) -> float | None:
        fakes = samples.at(torch.arange(min(count, LOOKED_AT)), count, self.seed)
        return self._diversity(pixel_deviation(fakes), "test")

    def _diversity(self, deviation: float, split: str) -> float | None:
        """Of fakes' pixels, over that of real images."""
        if split not in self._deviations:
            self._deviations[split] = pixel_deviation(self.datamodule.split(split).images)
        real = self._deviations[split]
        return deviation / real if real > 0 else None

    def _class_shares(self, fakes: Tensor) -> dict[str, dict[str, float]]:
        """{"real" and "generated": {class: share of the images}}."""
        shares = {"real": self._real_shares("test"), "generated": class_scores(self._classify(fakes)).shares}
        names = self.extractor.class_names
        return {source: dict(zip(names, of.tolist(), strict=True)) for source, of in shares.items()}

    def _knows_classes(self, split: str) -> bool:
        """Whether the extractor is a classifier of this data's classes, and right about most real images."""
        accuracy = self._accuracy(split)
        return accuracy is not None and accuracy >= TRUSTED_ABOVE

    @property
    def extractor_accuracy(self) -> float | None:
        """The share of real test images of which the extractor is right; None where it knows other classes."""
        return self._accuracy("test")

    def _accuracy(self, split: str) -> float | None:
        if self.extractor.class_names != tuple(self.datamodule.class_names):
            return None
        if split not in self._accuracies:
            predicted = self._real_probabilities(split).argmax(dim=1)
            right = predicted == self.datamodule.split(split).labels
            self._accuracies[split] = float(right.float().mean())
        return self._accuracies[split]

    def _classify(self, features: Tensor) -> Tensor:
        return self.extractor.to(self.device).classify(features.to(self.device)).cpu()

    def _real(self, split: str) -> RealFeatures:
        if split not in self._real_by_split:
            self._real_by_split[split] = RealFeatures(self._cached_features(self.datamodule.split(split).images, split))
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
        return self._cached_features(self._train_images, "train")[ranks(self._train_indices)]

    def _cached_features(self, images: Tensor, split: str) -> Tensor:
        folders, title = self.datamodule.cache_folders, f"features of {split} images"
        return cached_features(images, self.extractor, self.batch_size, self.device, folders, title)


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


def has_duplicates(of_real: dict[str, float]) -> bool:
    """Whether most test images are among the training images, so that nothing can be nearer to those than they are."""
    return is_duplicate(of_real["unseen"], of_real["typical"])


def _says_little(scores: dict[str, Score]) -> list[str]:
    recall = scores.get("recall")
    if recall is None or recall.floor is None or recall.value >= LOW_RECALL * recall.floor:
        return []
    return [
        f"recall is {recall.value:.3f}, that of real images {recall.floor:.3f}: so low, precision and density say "
        "little; grey noise can have a precision of 1"
    ]


class PixelSpread:
    """The standard deviation of each pixel over images that come one batch after the other; its mean over pixels."""

    def __init__(self, at_most: int | None) -> None:
        """`at_most`: how many images count, the first ones; None: all."""
        self.at_most, self.count = at_most, 0
        self._sums = torch.zeros(2, 1, dtype=torch.float64)  # of values, and of their squares

    def add(self, images: Tensor) -> Tensor:
        """Count uint8 images (B, C, H, W), and hand them on."""
        counted = images if self.at_most is None else images[: self.at_most - self.count]
        if len(counted):
            pixels = counted.cpu().double()
            self._sums = self._sums + torch.stack([pixels.sum(dim=0), pixels.square().sum(dim=0)]).flatten(1)
            self.count += len(counted)
        return images

    def watching(self, batches: Batches) -> Batches:
        """The same batches, each counted once it is made."""
        return [partial(self._made, make) for make in batches]

    def _made(self, make: Callable[[], Tensor]) -> Tensor:
        return self.add(make())

    @property
    def deviation(self) -> float:
        mean, squares = self._sums / self.count
        return float((squares - mean.square()).clamp(min=0).sqrt().mean())


def pixel_deviation(images: Tensor) -> float:
    """The standard deviation of each pixel over images, uint8 (N, C, H, W); its mean over pixels."""
    spread = PixelSpread(at_most=None)
    for rows in images.split(LOOKED_AT):
        spread.add(rows)
    return spread.deviation


def ranks(indices: Tensor) -> Tensor:
    """The place of each index, all of them different, among all in ascending order."""
    return torch.searchsorted(indices.sort().values, indices)

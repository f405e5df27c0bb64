"""How good the samples are: one score of val while training, every score of test at the end."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import torch
from annotated_types import Ge
from lightning import LightningDataModule, LightningModule, Trainer
from pydantic import StringConstraints

from foundation.errors import ConfigError
from foundation.ranges import Count, Images, Seed, Size
from lightning_modules.terms import Level, Term
from run_folder.pictures import FINAL, NEAREST_TRAIN
from scoring.extractors import FeatureExtractor
from scoring.features import ModelSamples, Samples
from scoring.protocol import short_hash
from scoring.published import check_matches_published, published_num_fakes
from scoring.real_images import RealImages
from scoring.scorer import Glance, Neighbourhoods, Scorer, ScoreReport

from .cadence import is_due
from .checkpoints import RunCheckpoint
from .early_stopping import EarlyStopping
from .figures import draw_classes, show_figure
from .foreign_data import real_images
from .pictures import show_sheet
from .run_facts import run_facts
from .scalars import log_results
from .score_callback import ScoreCallback
from .sheets import Block, Sheet
from .trainer_facts import callbacks_of

ORDINALS = ("nearest", "2nd", "3rd", "4th", "5th")
# Added to `seed` for val: latents that a checkpoint was chosen by are none of those that its test is reported on.
VAL_SEED = 2**31


Name = Annotated[str, StringConstraints(pattern=r"^[\w-]+$")]  # part of scores' names


class SampleScores(ScoreCallback):
    """`val/fid_<name>` at the run's cadence, for choosing a checkpoint; `test/<score>_<name>`, for reporting.

    Each test score is the mean over `repeats` draws of fakes (Scorer says which scores there are). Fakes are as
    many as the split has real images, unless `num_fakes` says otherwise or `protocol` names a published one to
    follow. Where val has fewer images than the extractor has features, checkpoints are chosen by `val/kid_<name>`.
    Raises ConfigError if val or test have no two images, or if the published protocol asks for other data or another
    extractor.
    """

    def __init__(
        self,
        name: Name,
        extractor: Callable[..., FeatureExtractor],
        datamodule: LightningDataModule,
        protocol: str | None,
        num_fakes: Annotated[Images, Ge(2)] | None,
        num_train: Annotated[Images, Ge(2)] | None,
        repeats: Count,
        batch_size: Size,
        seed: Seed,
    ) -> None:
        super().__init__()
        images = real_images(datamodule)
        self.glance: Glance | None = None  # the latest at val
        self.name, self.repeats = name, repeats
        self.batch_size, self.seed = batch_size, seed
        if protocol:
            num_fakes = published_num_fakes(protocol, num_fakes)
            check_matches_published(protocol, data=images.title)
        network = extractor()
        if protocol:
            check_matches_published(protocol, extractor=network.protocol["extractor"])
        self.scorer = Scorer(network, images, num_fakes, num_train, batch_size, seed)
        check_counts(images)
        self.fid = f"val/fid_{name}"
        self.chosen_by = self.fid if self.scorer.can_measure_fid("val") else f"val/kid_{name}"
        self.terms = {
            f"fid_{name}": Term(f"FID, {name}", "squared distance of features", low=0, by_factors=True),
            f"kid_{name}": Term(f"KID, {name}", level=Level(0.0, "0"), meaning="real and fake alike"),
        }

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have the best checkpoint, and early stopping, go by what val is scored by."""
        monitoring = [one for one in callbacks_of(trainer) if isinstance(one, RunCheckpoint | EarlyStopping)]
        others = [callback for callback in monitoring if callback.monitor == self.fid != self.chosen_by]
        for callback in others:
            callback.monitor = self.chosen_by
        if others and trainer.is_global_zero:
            print(
                f"{self.chosen_by} chooses the checkpoint: an fid needs as many images as the extractor has "
                f"features, {self.scorer.extractor.num_features}, and val has {self.scorer.datamodule.num_val}"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_due(trainer):
            self.scorer.device = pl_module.device
            samples = ModelSamples(pl_module, self.batch_size)
            self.glance = self.scorer.glance(samples, "val", self.seed + VAL_SEED)
            self.val_results = {self.chosen_by: self.glance.distance}
            log_results(trainer, pl_module, self.val_results)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        report = self.measure(ModelSamples(pl_module, self.batch_size), pl_module.device, self.repeats)
        log_results(trainer, pl_module, {name: float(score.value) for name, score in self.results.items()})
        show_sheet(trainer, pl_module, NEAREST_TRAIN, FINAL, nearest_train_sheet(report, self.name))
        if report.classes:
            show_figure(trainer, pl_module, "classes", draw_classes(report.classes, run_facts(trainer, pl_module)))

    def measure(self, samples: Samples, device: torch.device, repeats: int) -> ScoreReport:
        """Score samples against the test split; the callback then holds them for the run's record."""
        self.scorer.device = device
        report = self.scorer.report(samples, repeats)
        self.results = {f"test/{name}_{self.name}": score for name, score in report.scores.items()}
        self.protocols = {short_hash(report.protocol): report.protocol}
        self.details = {
            "extractor_accuracy": {self.name: report.extractor_accuracy},
            "notes": {self.name: report.notes},
            "sample_diversity": report.sample_diversity,
            "libraries": {name: version(name) for name in ("torch", "torchmetrics")},
        }
        if report.classes:
            self.details["classes"] = report.classes
        return report


def nearest_train_sheet(report: ScoreReport, extractor: str) -> Sheet:
    """Fakes over the training images nearest to each, with distances: the closest fakes, and as many at random."""
    measured = f"distances of {extractor} features"
    if report.unseen is not None:
        measured = f"{measured}; 1.00 is how far the median test image is from its nearest training image"
    heading = f"The {len(report.closest.fakes)} fakes closest to a training image"
    closest = neighbour_block(heading, report.closest, report.unseen)
    random = neighbour_block(f"{len(report.random.fakes)} fakes at random", report.random, report.unseen)
    title, note = "Fakes, and the training images nearest to them", f"Below each image: {measured}."
    return Sheet(title, [closest, random], note, told_rows=2)


def neighbour_block(heading: str, found: Neighbourhoods, unit: float | None) -> Block:
    """A column for each fake: the fake, and below it its neighbours with their distances, in a unit if there is one."""
    count = len(found.fakes)
    images = torch.cat([found.fakes, found.neighbours.transpose(0, 1).flatten(0, 1)])
    distances = found.distances.T.flatten().tolist()
    captions = [f"{one:.3g}" if unit is None else f"{one / unit:.2f}" for one in distances]
    names = ["fake", *ORDINALS[: found.neighbours.shape[1]]]
    return Block(images, count, heading, names, captions=[""] * count + captions)


def check_counts(images: RealImages) -> None:
    """Raise ConfigError unless val and test have two images each: the fewest that have a distribution."""
    for split, count in (("val", images.num_val), ("test", images.num_test)):
        if count < 2:
            raise ConfigError(
                f"data: {split} has {count} images, and a score compares 2 at least; use scores=none, or more images "
                f"(of a folder: data.num_{split}=2)"
            )

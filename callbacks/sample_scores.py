"""How good the samples are: one score of val while training, every score of test at the end."""

import warnings
from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from lightning import Trainer
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from lightning_modules.generative_model import GenerativeModel
from scoring.extractors import FeatureExtractor
from scoring.features import ModelSamples, Samples
from scoring.protocol import short_hash
from scoring.published import check_matches_published, published_num_fakes
from scoring.scorer import Scorer, ScoreReport

from .cadence import is_due
from .figures import draw_classes, show_figure
from .pictures import row_pairs, show_picture
from .scalars import log_results
from .score_callback import ScoreCallback


class SampleScores(ScoreCallback):
    """`val/fid_<name>` at the run's cadence, for choosing a checkpoint; `test/<score>_<name>`, for reporting.

    Each test score is the mean over `repeats` draws of fakes (Scorer says which scores there are). Fakes are as
    many as the split has real images, unless `num_fakes` says otherwise or `protocol` names a published one to
    follow. Raises ConfigError if there are fewer test images than the extractor has features, or if the published
    protocol asks for other data or another extractor.
    """

    def __init__(
        self,
        name: str,
        extractor: Callable[..., FeatureExtractor],
        datamodule: ImageDataModule,
        protocol: str | None,
        num_fakes: Annotated[int, Ge(2)] | None,
        num_train: Annotated[int, Ge(2)] | None,
        repeats: Annotated[int, Ge(1)],
        batch_size: Annotated[int, Ge(1)],
        seed: Annotated[int, Ge(0)],
    ) -> None:
        super().__init__()
        self.name, self.repeats = name, repeats
        self.batch_size, self.seed = batch_size, seed
        if protocol:
            num_fakes = published_num_fakes(protocol, num_fakes)
            check_matches_published(protocol, data=type(datamodule).__name__)
        network = extractor(image_shape=datamodule.image_shape)
        if protocol:
            check_matches_published(protocol, extractor=network.protocol["extractor"])
        check_counts(name, network, datamodule, num_fakes)
        self.scorer = Scorer(network, datamodule, num_fakes, num_train, batch_size, seed)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        if is_due(trainer):
            self.scorer.device = pl_module.device
            value = self.scorer.frechet_distance(ModelSamples(pl_module, self.batch_size), "val", self.seed)
            log_results(trainer, pl_module, {f"val/fid_{self.name}": value})

    def on_test_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        report = self.measure(ModelSamples(pl_module, self.batch_size), pl_module.device, self.repeats)
        log_results(trainer, pl_module, {name: float(score.value) for name, score in self.results.items()})
        show_picture(trainer, pl_module, "nearest_train", "final", nearest_train_picture(report))
        if report.classes:
            show_figure(trainer, pl_module, "classes", draw_classes(report.classes))

    def measure(self, samples: Samples, device: torch.device, repeats: int) -> ScoreReport:
        """Score samples against the test split; the callback then holds them for the run's record."""
        self.scorer.device = device
        report = self.scorer.report(samples, repeats)
        self.results = {f"test/{name}_{self.name}": score for name, score in report.scores.items()}
        self.protocols = {short_hash(report.protocol): report.protocol}
        self.details = {"classes": report.classes} if report.classes else {}
        return report


def nearest_train_picture(report: ScoreReport) -> Tensor:
    """The fakes that are nearest to training images, above those images: uint8 (3, H, W)."""
    return row_pairs(report.closest, report.neighbours, columns=len(report.closest))


def check_counts(name: str, extractor: FeatureExtractor, datamodule: ImageDataModule, num_fakes: int | None) -> None:
    """Raise ConfigError if the test score would have fewer images than features; warn if the val score has."""
    count = min(datamodule.num_test, num_fakes or datamodule.num_test)
    if count < extractor.num_features:
        raise ConfigError(
            f"scores: {count} images are too few for fid_{name}, whose extractor has {extractor.num_features} features "
            f"and needs at least as many, of the {datamodule.num_test} test images and of fakes. "
            "Use scores=reference or scores=none, a data set with more test images (of a folder without test/: a "
            "larger data.num_test), or a larger scores.num_fakes"
        )
    if datamodule.num_val < extractor.num_features:
        warnings.warn(
            f"val has {datamodule.num_val} images, fewer than the {extractor.num_features} features of fid_{name}: "
            f"val/fid_{name} is far off and ranks checkpoints only roughly",
            stacklevel=3,
        )

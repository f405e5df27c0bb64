"""Resuming a run from one of its checkpoints, in the same folder or in another."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import LightningModule
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from foundation.atomic import write_atomically
from run_folder.checkpoints import CheckpointError, read_checkpoint
from run_folder.curves import read_rows
from run_folder.kept_config import read_plain
from run_folder.layout import BEST, CHECKPOINTS, CONFIG, CURVES, WEIGHTS
from run_folder.settings import decides_weights, flattened

from .run_data import check_same_data

MAY_GROW = "trainer.max_epochs"


class Resumption:
    """The neutral element: a run that starts from nothing."""

    purge_step: int | None = None  # from where on the dashboard drops what an earlier part of the run drew

    @staticmethod
    def of(ckpt_path: str | None, max_epochs: int, may_be_complete: bool) -> "Resumption":
        """Read the checkpoint to resume from, if there is one. Raises CheckpointError.

        One that is complete leaves nothing to train: that is refused, unless the run `may_be_complete` but for its
        test.
        """
        if ckpt_path is None:
            return Resumption()
        path = Path(ckpt_path)
        if path.name == WEIGHTS:
            raise CheckpointError(
                f"{path} holds the weights of an exported run, and no state of its optimizers: it can be evaluated, "
                f"not resumed. Resume from <run folder>/{CHECKPOINTS}/last.ckpt"
            )
        checkpoint = read_checkpoint(path)
        completed = checkpoint["epoch"] + 1
        if completed >= max_epochs and not may_be_complete:
            raise CheckpointError(
                f"{path} has completed {completed} epochs and trainer.max_epochs is {max_epochs}: nothing is left "
                "to train. Set a larger trainer.max_epochs, or use evaluate.py for a finished run"
            )
        return ResumptionFrom(path, checkpoint["images_seen"], shapes_of(checkpoint["state_dict"]))

    def check_fits(self, model: LightningModule) -> None:
        """Raise CheckpointError unless the checkpoint's weights are of this very model."""

    def check_same_run(self, config: dict[str, Any]) -> None:
        """Raise CheckpointError unless every setting that decides the weights is as in the resumed run.

        But for `trainer.max_epochs`: a run may be resumed to be made longer.
        """

    def check_same_data(self, datamodule: ImageDataModule) -> None:
        """Raise ConfigError unless the splits hold the images that they held in the resumed run."""

    def copy_history(self, run_dir: Path, loggers: list[Logger]) -> None:
        """Bring the resumed run's best checkpoint and its curves up to this point into the run folder."""


@dataclass
class ResumptionFrom(Resumption):
    """A run that resumes at a checkpoint."""

    path: Path
    images_seen: int
    shapes: dict[str, tuple[int, ...]]
    has_other_length: bool = False  # than the run that is resumed

    @property
    def purge_step(self) -> int:  # type: ignore[override]
        return self.images_seen + 1

    def check_fits(self, model: LightningModule) -> None:
        check_weights_fit(self.shapes, model, self.path)
        if self.has_other_length and getattr(model, "schedule_spans_run", False):
            raise CheckpointError(
                f"{self.path} is of a run whose learning rates depend on {MAY_GROW}: resume it with the same number"
            )

    def check_same_run(self, config: dict[str, Any]) -> None:
        stored = self.path.resolve().parent.parent / CONFIG
        if not stored.is_file():
            raise CheckpointError(
                f"{self.path} is not in a run folder: there is no {stored}. Resume from <run folder>/{CHECKPOINTS}/"
            )
        try:
            before, now = flattened(read_plain(stored)), flattened(config)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} can't be resumed from: {stored} can't be read: {error}") from error
        self.has_other_length = before.get(MAY_GROW) != now.get(MAY_GROW)
        for name in sorted(before | now, key=lambda name: name.count(".")):  # a class before its settings
            old, new = before.get(name), now.get(name)
            if old != new and decides_weights(name) and name != MAY_GROW:
                raise CheckpointError(
                    f"{self.path} is of a run with {name}={old}, not {new}. A run is resumed with its own choices; "
                    f"repeat them (they are in {stored}), or start a new run"
                )

    def check_same_data(self, datamodule: ImageDataModule) -> None:
        check_same_data(datamodule, self.path.resolve().parent.parent)

    def copy_history(self, run_dir: Path, loggers: list[Logger]) -> None:
        old_run = self.path.resolve().parent.parent
        in_place = old_run == run_dir.resolve()
        best = old_run / CHECKPOINTS / BEST
        if best.is_file() and not in_place:
            write_atomically(run_dir / CHECKPOINTS / BEST, lambda partial: shutil.copyfile(best, partial))
        # In place the dashboard still has its curves; metrics.csv is begun anew by its logger.
        rewritten = [logger for logger in loggers if not (in_place and isinstance(logger, TensorBoardLogger))]
        for images_seen, scalars in read_rows(old_run / CURVES):
            if images_seen <= self.images_seen and not any(name.startswith("test/") for name in scalars):
                for logger in rewritten:
                    logger.log_metrics(scalars, step=images_seen)
        for logger in rewritten:
            logger.save()


def shapes_of(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def check_weights_fit(shapes: dict[str, tuple[int, ...]], model: LightningModule, path: Path) -> None:
    """Raise CheckpointError, naming a difference, unless weights of these shapes are of this very model."""
    expected = shapes_of(model.state_dict())
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise CheckpointError(
                f"{path} is of another model: {name} is {shapes.get(name, 'not in the checkpoint')}, "
                f"expected {expected.get(name, 'no such weight')}. "
                "Give the model, network and data choices that the checkpoint's run was started with"
            )

"""Resuming a run from one of its checkpoints, in the same folder or in another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning import LightningModule
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.loggers import Logger
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule
from foundation.atomic import copy_file
from foundation.progress import say
from run_folder.checkpoints import CheckpointError, check_undamaged, read_checkpoint
from run_folder.curves import CurvesError, Row, read_rows
from run_folder.kept_config import read_plain
from run_folder.layout import BEST, CHECKPOINTS, CONFIG, CURVES, END, LAST, WEIGHTS, run_of
from run_folder.pictures import FIXED, epoch_stage, picture_file, pictures_by_epoch
from run_folder.records import finished_record
from run_folder.settings import decides_weights, flattened
from trackers.tracker import Tracker

from .run_data import check_same_data

MAY_GROW = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
LENGTHS = MAY_GROW[:2]  # that learning rates may depend on
PROCESSES = ("trainer.devices", "trainer.num_nodes")
STRATEGY = "trainer.strategy"  # of several processes: all average the same gradients, by whatever name
OWN_LAST = "last"  # ckpt_path=last: the last checkpoint of the run's own folder, where there is one


class Resumption:
    """The neutral element: a run that starts from nothing."""

    resumed_at: int | None = None  # images seen by the checkpoint

    @staticmethod
    def of(ckpt_path: str | None, trainer: Mapping[str, Any]) -> "Resumption":
        """Read the checkpoint to resume from, if there is one, for a run of the trainer's length.

        Raises CheckpointError, also if nothing is left to do. Where nothing is left to train, a run that has not been
        tested still is.
        """
        if ckpt_path is None:
            return Resumption()
        path = Path(ckpt_path)
        if path.name == WEIGHTS:
            raise CheckpointError(
                f"{path} holds the weights of an exported run, and no state of its optimizers: it can be evaluated, "
                f"not resumed. Resume from <run folder>/{CHECKPOINTS}/{LAST}"
            )
        checkpoint = read_checkpoint(path)
        check_is_of_whole_epochs(checkpoint, path)
        complete = why_complete(checkpoint, trainer)
        if complete is not None and is_tested(run_of(path), checkpoint):
            raise CheckpointError(f"{path} {complete}, or use evaluate.py for a finished run")
        shapes, epochs = shapes_of(checkpoint["state_dict"]), checkpoint["epoch"] + 1
        return ResumptionFrom(path, checkpoint["images_seen"], shapes, epochs, is_complete=complete is not None)

    def check_fits(self, model: LightningModule) -> None:
        """Raise CheckpointError unless the checkpoint's weights are of this very model."""

    def check_same_run(self, config: dict[str, Any]) -> None:
        """Raise CheckpointError unless every setting that decides the weights is as in the resumed run.

        But for the run's length, `MAY_GROW`: a run may be resumed to be made longer; and for the number of processes of
        trainer=ddp: it may be resumed on as many as there are, which is said. Their strategy is no such setting.
        """

    def check_same_data(self, datamodule: ImageDataModule) -> None:
        """Raise ConfigError unless the splits hold the images that they held in the resumed run."""

    def copy_history(self, run_dir: Path, loggers: list[Logger]) -> None:
        """Bring the resumed run's checkpoints and its curves up to this point into the run folder."""


@dataclass
class ResumptionFrom(Resumption):
    """A run that resumes at a checkpoint."""

    path: Path
    images_seen: int
    shapes: dict[str, tuple[int, ...]]
    epochs: int = 0  # that the checkpoint has completed
    is_complete: bool = False  # nothing is left to train: the run is tested
    other_length: str | None = None  # the setting by which it is of another length than the run that is resumed
    other_processes: list[str] = field(default_factory=list)  # the settings by which it has more of them, or fewer

    @property
    def resumed_at(self) -> int:  # type: ignore[override]
        return self.images_seen

    def check_fits(self, model: LightningModule) -> None:
        check_weights_fit(self.shapes, model, self.path)
        if self.other_length and getattr(model, "schedule_spans_run", False):
            raise CheckpointError(
                f"{self.path} is of a run whose learning rates depend on {self.other_length}: resume it with the same "
                "number"
            )

    def check_same_run(self, config: dict[str, Any]) -> None:
        stored = run_of(self.path) / CONFIG
        if not stored.is_file():
            raise CheckpointError(
                f"{self.path} is not in a run folder: there is no {stored}. Resume from <run folder>/{CHECKPOINTS}/"
            )
        try:
            before, now = flattened(read_plain(stored)), flattened(config)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path} can't be resumed from: {stored} can't be read: {error}") from error
        self.other_length = next((name for name in LENGTHS if before.get(name) != now.get(name)), None)
        self.other_processes = [
            f"{name}={now.get(name)}, before {before.get(name)}"
            for name in PROCESSES
            if before.get(name) != now.get(name)
        ]
        several = all(settings.get(STRATEGY, "auto") != "auto" for settings in (before, now))
        may_differ = (*PROCESSES, STRATEGY) if several else ()
        for name in sorted(before | now, key=lambda name: name.count(".")):  # a class before its settings
            old, new = before.get(name), now.get(name)
            if old != new and decides_weights(name) and not may_grow(name) and name not in may_differ:
                was_together = name in PROCESSES and before.get(STRATEGY, "auto") != "auto"
                in_one_process = ", or go on in one process by trainer=ddp trainer.devices=1" if was_together else ""
                raise CheckpointError(
                    f"{self.path} is of a run with {name}={old}, not {new}. A run is resumed with its own choices; "
                    f"repeat them (they are in {stored}){in_one_process}, or start a new run"
                )

    def check_same_data(self, datamodule: ImageDataModule) -> None:
        check_same_data(datamodule, run_of(self.path))

    def copy_history(self, run_dir: Path, loggers: list[Logger]) -> None:
        old_run = run_of(self.path)
        in_place = old_run == run_dir.resolve()
        best = old_run / CHECKPOINTS / BEST
        if best.is_file():
            check_undamaged(best, f"remove it, and {self.path.name} is tested or a later, better one")
        if not in_place:
            copy_file(best, run_dir / CHECKPOINTS / BEST)
            copy_file(self.path, run_dir / CHECKPOINTS / LAST)  # to go on from, should no other epoch end
            self.copy_pictures(old_run, run_dir)
        say(self.announcement)
        if self.other_processes:
            say(
                f"on another number of processes ({'; '.join(self.other_processes)}): data.batch_size= is of each, so "
                "that the batch of a step is another from here on"
            )
        # Trackers that go on with the same run still have its curves; metrics.csv is begun anew by its logger.
        rewritten = [logger for logger in loggers if not (isinstance(logger, Tracker) and logger.has_history)]
        for images_seen, scalars in readable_rows(old_run / CURVES, kept_in=run_dir):
            if images_seen <= self.images_seen and not any(name.startswith("test/") for name in scalars):
                for logger in rewritten:
                    logger.log_metrics(scalars, step=images_seen)
        for logger in rewritten:
            logger.save()

    def copy_pictures(self, old_run: Path, run_dir: Path) -> None:
        """Bring those of the samples that show progress along, up to this point: the animation is of the whole run."""
        for epoch, path in pictures_by_epoch(old_run, FIXED).items():
            if epoch <= self.epochs and path.resolve().is_relative_to(old_run):
                copy_file(path, picture_file(run_dir, FIXED, epoch_stage(epoch)))

    @property
    def announcement(self) -> str:
        """One line: where the run goes on."""
        if self.is_complete:
            return f"resuming after epoch {self.epochs}: nothing is left to train, the run is tested"
        if self.path.with_name(END).is_file():
            return f"resuming after epoch {self.epochs}; that amid which the run ended is trained from its start"
        return f"resuming after epoch {self.epochs}"


def may_grow(name: str) -> bool:
    """Whether a run may be resumed with another value of this setting, a dotted name, to be made longer."""
    return any(f"{name}.".startswith(f"{setting}.") for setting in MAY_GROW)


def check_is_of_whole_epochs(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError for a checkpoint that was written amid an epoch, the rest of which can't be made up."""
    if checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]:
        return
    last = path.with_name(LAST)
    remedy = f"Resume from {last}" if last.is_file() and last != path else "Start the run anew"
    raise CheckpointError(
        f"{path} was written amid epoch {checkpoint['epoch'] + 1}, and a run is resumed from the end of an epoch, to "
        f"come out as if it had not been interrupted. {remedy}"
    )


def nothing_is_left(run_dir: Path, trainer: Mapping[str, Any]) -> bool:
    """Whether the run in a folder has come to the trainer's length, as far as its last checkpoint says."""
    last = run_dir / CHECKPOINTS / LAST
    return not last.is_file() or why_complete(read_checkpoint(last), trainer) is not None


def why_complete(checkpoint: Mapping[str, Any], trainer: Mapping[str, Any]) -> str | None:
    """Why a run of the trainer's length has nothing left to train, and what to change; None where something is left."""
    epochs, steps = checkpoint["epoch"] + 1, checkpoint["global_step"]
    max_epochs, max_steps = trainer["max_epochs"], trainer.get("max_steps", -1)
    nothing_left = "nothing is left to train. Set a larger"
    if epochs >= max_epochs:
        done = f"has completed {epochs} epochs and trainer.max_epochs is {max_epochs}"
        return f"{done}: {nothing_left} trainer.max_epochs"
    if 0 <= max_steps <= steps:
        done = f"has completed {steps} optimizer steps and trainer.max_steps is {max_steps}"
        return f"{done}: {nothing_left} trainer.max_steps"
    if was_stopped_early(checkpoint):
        done = f"was stopped early after epoch {epochs} of {max_epochs}"
        return f"{done}: {nothing_left} callbacks.early_stopping.patience in a new run"
    return None


def was_stopped_early(checkpoint: Mapping[str, Any]) -> bool:
    """Whether callbacks/early_stopping.py had ended the training when this was written."""
    states = [state for name, state in checkpoint["callbacks"].items() if name.startswith("EarlyStopping")]
    running = EarlyStoppingReason.NOT_STOPPED.value
    return any(state.get("stopping_reason", running) != running for state in states)


def is_tested(run_dir: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Whether the record in a run's folder is of a run that has come as far as the checkpoint, or further."""
    record = finished_record(run_dir)
    return record is not None and (record.images_seen is None or record.images_seen >= checkpoint["images_seen"])


def readable_rows(path: Path, kept_in: Path) -> list[Row]:
    """The rows of a run's curves; of damaged ones those that can be read, of which a copy is kept in a folder."""
    try:
        return read_rows(path)
    except CurvesError as error:
        copy = kept_in / f"damaged_{path.name}"
        copy_file(path, copy)
        say(f"{error}. The {len(error.rows)} rows that can be read are kept; a copy is {copy}")
        return error.rows


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

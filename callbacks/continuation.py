"""Continuing a run from one of its checkpoints, in the same folder or in another."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lightning import LightningModule
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from .checkpoints import CheckpointError, read_checkpoint
from .run_folder import CHECKPOINTS, CURVES, read_rows, write_atomically


class Continuation:
    """The neutral element: a run that starts from nothing."""

    purge_step: int | None = None  # from where on the dashboard forgets what an earlier part of the run drew

    @staticmethod
    def of(ckpt_path: str | None, max_epochs: int) -> "Continuation":
        """Read the checkpoint to continue from, if there is one. Raises CheckpointError."""
        if ckpt_path is None:
            return Continuation()
        path = Path(ckpt_path)
        checkpoint = read_checkpoint(path)
        completed = checkpoint["epoch"] + 1
        if completed >= max_epochs:
            raise CheckpointError(
                f"{path} has completed {completed} epochs and trainer.max_epochs is {max_epochs}: nothing is left "
                "to train. Set a larger trainer.max_epochs, or use evaluate.py for a finished run"
            )
        shapes = {name: tuple(weight.shape) for name, weight in checkpoint["state_dict"].items()}
        return ContinuationFrom(path, checkpoint["images_seen"], shapes)

    def check_fits(self, model: LightningModule) -> None:
        """Raise CheckpointError unless the checkpoint's weights are of this very model."""

    def carry_over(self, run_dir: Path, loggers: list[Logger]) -> None:
        """Bring the continued run's best checkpoint and its curves up to this point into the run folder."""


@dataclass
class ContinuationFrom(Continuation):
    """A run that goes on where a checkpoint stands."""

    path: Path
    images_seen: int
    shapes: dict[str, tuple[int, ...]]

    @property
    def purge_step(self) -> int:
        return self.images_seen + 1

    def check_fits(self, model: LightningModule) -> None:
        check_weights_fit(self.shapes, model, self.path)

    def carry_over(self, run_dir: Path, loggers: list[Logger]) -> None:
        old_run = self.path.resolve().parent.parent
        in_place = old_run == run_dir.resolve()
        best = old_run / CHECKPOINTS / "best.ckpt"
        if best.is_file() and not in_place:
            write_atomically(run_dir / CHECKPOINTS / "best.ckpt", lambda partial: shutil.copyfile(best, partial))
        # In place the dashboard still has its curves; metrics.csv is begun anew by its logger.
        rewritten = [logger for logger in loggers if not (in_place and isinstance(logger, TensorBoardLogger))]
        for images_seen, scalars in read_rows(old_run / CURVES):
            if images_seen <= self.images_seen and not any(name.startswith("test/") for name in scalars):
                for logger in rewritten:
                    logger.log_metrics(scalars, step=images_seen)
        for logger in rewritten:
            logger.save()


def check_weights_fit(shapes: dict[str, tuple[int, ...]], model: LightningModule, path: Path) -> None:
    """Raise CheckpointError, naming a difference, unless weights of these shapes are of this very model."""
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    for name in sorted(expected.keys() | shapes.keys()):
        if expected.get(name) != shapes.get(name):
            raise CheckpointError(
                f"{path} is of another model: {name} is {shapes.get(name, 'not in the checkpoint')}, "
                f"expected {expected.get(name, 'no such weight')}. "
                "Give the model, network and data choices that the checkpoint's run was started with"
            )

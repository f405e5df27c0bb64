"""A run, from the claim of its folder to the summary of its record."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from callbacks.checkpoints import best_val_score
from callbacks.trainer_facts import callbacks_of
from datamodules.buckets import FetchError
from datamodules.image_datamodule import ImageDataModule
from foundation.atomic import DiskFullError, disk_full, no_room
from foundation.memory import is_out_of_memory
from foundation.progress import say
from lightning_modules.image_model import ImageModel
from run_folder.layout import CHECKPOINTS, LAST, tested_checkpoint
from run_folder.settings import as_dict

from .batch_check import check_batches
from .command_line import command_to_resume
from .config_check import check
from .machine import (
    LostProcessError,
    check_processes,
    ended_with_first_process,
    first_words,
    is_of_lost_process,
    lost_process,
    use_machine,
    writes,
)
from .memory import out_of_memory
from .monitor_check import check_monitors
from .paths import make_absolute
from .processes import started_by_engine
from .resuming import OWN_LAST, Resumption
from .run_data import save_data
from .run_start import claim, save_config
from .stopping import ended_by_signals
from .summary import summary
from .tracked_run import begin_tracking, how_to_look, tracking


class Run:
    """One run in its folder. Of the processes that train together the first one alone writes there."""

    def __init__(self, cfg: DictConfig) -> None:
        """Check the config, and claim the folder. Raises UserError before anything expensive starts."""
        make_absolute(cfg)
        check(cfg)
        use_machine(cfg.tf32)
        self.cfg, self.folder = cfg, Path(cfg.run_dir)
        self.resumed_from: str | None = cfg.ckpt_path
        self.resumption = Resumption.of(cfg.ckpt_path, cfg.trainer)
        self.resumption.check_same_run(as_dict(cfg))
        check_processes(cfg.trainer)
        self.writes = writes()
        self.loggers: list[Logger] = []  # once they know of the run
        if self.writes:
            claim(self.folder, resumed_from=cfg.ckpt_path)

    def begin(self, datamodule: ImageDataModule, model: ImageModel, trainer: Trainer) -> None:
        """Read the data, and write what a run begins with: its config, its splits, and what it resumes with."""
        self.resumption.check_fits(model)
        if self.writes:  # the other processes' data is read by Lightning, once this one has what is missing
            datamodule.prepare_data()
            datamodule.setup()
            say(datamodule.summary)
            check_batches(trainer, model, datamodule)
            check_monitors(trainer, model, datamodule)
            self.resumption.check_same_data(datamodule)
            save_config(self.cfg, self.folder)
            save_data(datamodule, self.folder)
            self.loggers.extend(trainer.loggers)
            begin_tracking(self.cfg, self.folder, trainer.loggers, self.resumption.resumed_at)
            self.resumption.copy_history(self.folder, trainer.loggers)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """What ends a run from outside ends what is inside with the command that goes on with it.

        SIGTERM and Ctrl-C, a full disk or memory, and the end of another of the processes that train together.
        """
        with ended_with_first_process(self.advice), ended_by_signals(self.advice), tracking(self.loggers):
            try:
                yield
            except OSError as error:
                if not no_room(error):
                    raise
                what = str(error) if isinstance(error, DiskFullError) else disk_full(self.folder)
                raise DiskFullError(what, self.advice()) from error
            except FetchError as error:
                raise FetchError(f"{error}; {self.advice()}") from error
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise out_of_memory(error, self.cfg, self.advice()) from error
                if not is_of_lost_process(error):
                    raise
                raise LostProcessError(f"{lost_process(first_words(error))}; {self.advice()}") from error

    def advice(self) -> str:
        """What to do when a run has ended before its time."""
        last = self.folder / CHECKPOINTS / LAST
        if started_by_engine():  # by a command that is not known here
            return f"go on with the same command and ckpt_path={OWN_LAST}, on as many hosts as there are"
        kept = "go on with" if last.is_file() else "no epoch had ended yet, start it anew with"
        return f"{kept}: {command_to_resume(last)}"

    def tested_checkpoint(self) -> str:
        """The checkpoint that speaks for the run: the best on val, or the last where val was never scored."""
        path = tested_checkpoint(self.folder)
        if self.writes:
            say(f"testing {path.name} …")
        return str(path)

    def finish(self, trainer: Trainer) -> float | None:
        """Print what the run came to, from its record. Returns the score on val that chose the best checkpoint."""
        if self.writes:
            print(summary(self.folder, how_to_look(self.loggers)), flush=True)
        return best_val_score(callbacks_of(trainer))

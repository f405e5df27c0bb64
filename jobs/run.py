"""A run, from the claim of its folder to the summary of its record."""

from contextlib import AbstractContextManager
from pathlib import Path

from lightning import Trainer
from omegaconf import DictConfig

from callbacks.checkpoints import best_val_score
from callbacks.trainer_facts import callbacks_of
from datamodules.image_datamodule import ImageDataModule
from lightning_modules.image_model import ImageModel
from run_folder.layout import CHECKPOINTS, LAST, tested_checkpoint
from run_folder.settings import as_dict

from .command_line import ended_by_sigterm
from .config_check import check
from .machine import check_processes, use_machine, writes
from .resuming import Resumption
from .run_data import save_data
from .run_start import claim, save_config
from .summary import summary


class Run:
    """One run in its folder. Of the processes that train together the first one alone writes there."""

    def __init__(self, cfg: DictConfig) -> None:
        """Check the config, and claim the folder. Raises UserError before anything expensive starts."""
        check(cfg)
        use_machine(cfg.tf32)
        self.cfg, self.folder = cfg, Path(cfg.run_dir)
        self.resumed_from: str | None = cfg.ckpt_path
        self.resumption = Resumption.of(
            cfg.ckpt_path, cfg.trainer.max_epochs, may_be_complete=cfg.sweep.resume is not None
        )
        self.resumption.check_same_run(as_dict(cfg))
        check_processes(cfg.trainer)
        self.writes = writes()
        if self.writes:
            claim(self.folder, resumed_from=cfg.ckpt_path)

    def begin(self, datamodule: ImageDataModule, model: ImageModel, trainer: Trainer) -> None:
        """Read the data, and write what a run begins with: its config, its splits, and what it resumes with."""
        self.resumption.check_fits(model)
        if self.writes:  # the other processes' data is read by Lightning, once this one has what is missing
            datamodule.prepare_data()
            datamodule.setup()
            print(datamodule.summary, flush=True)
            self.resumption.check_same_data(datamodule)
            save_config(self.cfg, self.folder)
            save_data(datamodule, self.folder)
            self.resumption.copy_history(self.folder, trainer.loggers)

    def stoppable(self) -> AbstractContextManager[None]:
        """SIGTERM ends what is inside, with advice how to resume."""
        return ended_by_sigterm(f"resume with ckpt_path={self.folder / CHECKPOINTS / LAST}")

    def tested_checkpoint(self) -> str:
        """The checkpoint that speaks for the run: the best on val, or the last where val was never scored."""
        path = tested_checkpoint(self.folder)
        if self.writes:
            print(f"testing {path.name} …", flush=True)
        return str(path)

    def finish(self, trainer: Trainer) -> float | None:
        """Print what the run came to, from its record. Returns the score on val that chose the best checkpoint."""
        if self.writes:
            print(summary(self.folder))
        return best_val_score(callbacks_of(trainer))

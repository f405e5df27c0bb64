"""One job of the command line, around the training itself: sweeps that are resumed, how it ended, memory given back."""

import gc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError
from foundation.progress import say
from run_folder.records import finished_record
from run_folder.settings import as_dict

from .config_check import check_frame
from .identity import identity_of
from .job_folder import REFUSED
from .machine import writes
from .resuming import OWN_LAST, nothing_is_left
from .run_end import is_of_another_job, record_begin, recording_end
from .run_start import resumable_checkpoint, sole_use


def run_job(train: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """Train, once or for each job of a sweep. Returns the objective, as `train` does."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if REFUSED not in cfg:
        with recording_end(run_dir, {}, resumes=False):
            check_frame(frame_of(cfg))
    identity = identity_of(cfg)
    resumes = OmegaConf.select(cfg, "sweep.resume") is not None or cfg.get("ckpt_path") == OWN_LAST
    with recording_end(run_dir, identity, resumes), sole_use(run_dir) if writes() else nullcontext():
        check_own_folder(cfg, run_dir)
        record_begin(run_dir, identity)
        if REFUSED in cfg:
            raise ConfigError(cfg[REFUSED])
        objective = resume_job(train, cfg) if resumes else train(cfg)
    gc.collect()  # the next job of a sweep starts with the memory of this one
    torch.cuda.empty_cache()
    return objective


def frame_of(cfg: DictConfig) -> dict[str, Any]:
    """What even the record of a failed job needs of a config, whatever else is wrong with it."""
    return as_dict(OmegaConf.create({key: cfg[key] for key in ("sweep", "choices") if key in cfg}))


def check_own_folder(cfg: DictConfig, run_dir: Path) -> None:
    """Raise ConfigError for a job that would write into another folder than its own, or into that of another job."""
    if cfg.run_dir != str(run_dir):
        raise ConfigError(f"run_dir: the run is in {run_dir}, as hydra.run.dir= chooses; leave run_dir away")
    if is_of_another_job(run_dir):
        raise ConfigError(
            f"{run_dir} is the folder of another job of this sweep, which has the same settings, or the same "
            "hydra.sweep.subdir. Leave one of them away, or give each a folder of its own"
        )


def resume_job(train: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """A run whose folder it may have begun in before: kept if it is finished, else resumed from its last checkpoint.

    So are the jobs of a sweep that was stopped, and runs that something else may start again (ckpt_path=last), which
    may be made longer.
    """
    run_dir = Path(cfg.run_dir)
    record = finished_record(run_dir)
    if record is not None and (cfg.get("ckpt_path") != OWN_LAST or nothing_is_left(run_dir, cfg.trainer)):
        if writes():
            say("finished before")
        return record.best_val_score
    cfg.ckpt_path = resumable_checkpoint(run_dir, is_writing=writes())
    return train(cfg)

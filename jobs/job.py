"""One job of the command line, around the training itself: sweeps that are resumed, how it ended, memory given back."""

import gc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from run_folder.records import finished_record
from run_folder.settings import as_dict

from .building import identity_of
from .config_check import check_frame
from .machine import writes
from .run_end import recording_end
from .run_start import resumable_checkpoint, sole_use


def run_job(train: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """Train, once or for each job of a sweep. Returns the objective, as `train` does."""
    check_frame(frame_of(cfg))
    run_dir = Path(cfg.run_dir)
    with sole_use(run_dir) if writes() else nullcontext(), recording_end(run_dir, identity_of(cfg)):
        objective = resume_job(train, cfg) if cfg.sweep.resume else train(cfg)
    gc.collect()  # the next job of a sweep starts with the memory of this one
    torch.cuda.empty_cache()
    return objective


def frame_of(cfg: DictConfig) -> dict[str, Any]:
    """What even the record of a failed job needs of a config, whatever else is wrong with it."""
    frame = OmegaConf.create({key: cfg[key] for key in ("run_dir", "sweep", "choices")})
    return as_dict(frame)


def resume_job(train: Callable[[DictConfig], float | None], cfg: DictConfig) -> float | None:
    """One job of a sweep that was stopped: kept if it is finished, else resumed from its last checkpoint."""
    run_dir = Path(cfg.run_dir)
    record = finished_record(run_dir)
    if record is not None:
        print(f"{run_dir.name}: finished before", flush=True)
        return record.best_val_score
    cfg.ckpt_path = resumable_checkpoint(run_dir)
    return train(cfg)

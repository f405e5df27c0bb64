"""One job: compose, build, fit, test, record."""

import gc
from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning import seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from callbacks.checkpoints import best_val_score
from callbacks.divergence import DivergenceError
from run_folder.checkpoints import AtomicCheckpointIO
from run_folder.layout import tested_checkpoint
from run_folder.records import finished_record

from .building import INPUT_ERRORS, build_callbacks, build_loggers, build_model, check_makes_images, identity_of
from .command_line import as_user_error, ended_by_sigterm
from .config_check import check
from .machine import check_processes, use_machine
from .resuming import Continuation
from .run_end import recording_end
from .run_start import claim, left_off, save_config
from .summary import summary


def job(cfg: DictConfig) -> float | None:
    """What `train.py` does, once or for each job of a sweep. Returns the objective, as `train` does."""
    with recording_end(Path(cfg.run_dir), identity_of(cfg)):
        objective = go_on(cfg) if cfg.sweep.resume else train(cfg)
    gc.collect()  # the next job of a sweep starts with the memory of this one
    torch.cuda.empty_cache()
    return objective


def go_on(cfg: DictConfig) -> float | None:
    """One job of a sweep that was stopped: kept if it is finished, else taken up where it was left."""
    run_dir = Path(cfg.run_dir)
    record = finished_record(run_dir)
    if record is not None:
        print(f"{run_dir.name}: finished before", flush=True)
        return record.best_val_score
    cfg.ckpt_path = left_off(run_dir)
    return train(cfg)


def train(cfg: DictConfig) -> float | None:
    """One job. Returns what a sweeper may go by: the score on val that chose the best checkpoint, if there is one."""
    run_dir = Path(cfg.run_dir)
    with as_user_error(*INPUT_ERRORS):
        check(cfg)
        use_machine(cfg.tf32)
        continuation = Continuation.of(
            cfg.ckpt_path, cfg.trainer.max_epochs, may_be_complete=cfg.sweep.resume is not None
        )
        continuation.check_same_run(OmegaConf.to_container(cfg, resolve=True))
        check_processes(cfg.trainer)
        if is_first := rank_zero_only.rank == 0:  # of the processes that train together
            claim(run_dir, continued_from=cfg.ckpt_path)
        datamodule = instantiate(cfg.data)
        callbacks = build_callbacks(cfg, datamodule)
        seed_everything(cfg.seed, workers=True, verbose=False)  # here, so that no callback can change a weight
        model = build_model(cfg.model, datamodule)
        check_makes_images(model, callbacks)
        continuation.check_fits(model)
        if cfg.compile:
            model.compile_networks()
        loggers = build_loggers(cfg.logger, continuation.purge_step)
        trainer = instantiate(
            cfg.trainer,
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=cfg.callbacks.progress_bar is not None,
        )
        if is_first:  # the others are called by Lightning, once this one has what is missing
            datamodule.prepare_data()
            datamodule.setup()
    if is_first:
        save_config(cfg, run_dir)
        continuation.carry_over(run_dir, loggers)
    going_on = f"continue with ckpt_path={run_dir}/checkpoints/last.ckpt"
    with as_user_error(DivergenceError, MisconfigurationException), ended_by_sigterm(going_on):
        trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
        if is_first:
            print(f"testing {tested_checkpoint(run_dir).name} …", flush=True)
        trainer.test(model, datamodule=datamodule, ckpt_path=str(tested_checkpoint(run_dir)), verbose=False)
    if is_first:
        print(summary(run_dir))
    return best_val_score(callbacks)

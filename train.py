"""Train one model on one data set: compose, build, fit, test, record.

python train.py model=gan data=imagenette
python train.py -m model=vae,gan data=digits,mnist seed=0,1
"""

import gc
from inspect import signature
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.utils import instantiate
from lightning import Callback, seed_everything
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from callbacks.checkpoints import AtomicCheckpointIO, CheckpointError, best_val_score
from callbacks.continuation import Continuation
from callbacks.divergence import DivergenceError
from callbacks.epoch_seed import EpochSeed
from callbacks.pictures import PictureCallback
from callbacks.run_end import recording_end
from callbacks.run_folder import claim, finished, left_off, save_config, summary, tested_checkpoint
from callbacks.run_record import RunRecord
from callbacks.scores import SampleScores
from callbacks.scoring.extractors import WeightsError
from conf.command_line import as_user_error, ended_by_sigterm, reporting, run
from conf.machine import check_processes, use_machine
from conf.schema import ConfigError, check
from datamodules.image_datamodule import DataError, ImageDataModule
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel

INPUT_ERRORS = (CheckpointError, ConfigError, DataError, WeightsError, MisconfigurationException, ValueError)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    with reporting(), recording_end(Path(cfg.run_dir), identity_of(cfg)):
        objective = go_on(cfg) if cfg.sweep.resume else train(cfg)
    gc.collect()  # the next job of a sweep starts with the memory of this one
    torch.cuda.empty_cache()
    return objective


def go_on(cfg: DictConfig) -> float | None:
    """One job of a sweep that was stopped: kept if it is finished, else taken up where it was left."""
    run_dir = Path(cfg.run_dir)
    record = finished(run_dir)
    if record is not None:
        print(f"{run_dir.name}: finished before", flush=True)
        return record["best_val_score"]
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
    with as_user_error(DivergenceError, MisconfigurationException), ended_by_sigterm():
        trainer.fit(model, datamodule=datamodule, ckpt_path=cfg.ckpt_path)
        if is_first:
            print(f"testing {tested_checkpoint(run_dir).name} …", flush=True)
        trainer.test(model, datamodule=datamodule, ckpt_path=str(tested_checkpoint(run_dir)), verbose=False)
    if is_first:
        print(summary(run_dir))
    return best_val_score(callbacks)


def build_model(config: DictConfig, datamodule: ImageDataModule) -> ImageModel:
    """Hand the data's facts to the model: those of them that its constructor names."""
    facts = {"image_shape": datamodule.image_shape, "num_classes": datamodule.num_classes}
    constructor = instantiate(config)
    model = constructor(**{name: fact for name, fact in facts.items() if name in signature(constructor).parameters})
    return model.to(memory_format=torch.channels_last)  # the layout in which convolutions are fastest


def check_makes_images(model: ImageModel, callbacks: list[Callback]) -> None:
    """Raise ConfigError if a model that makes no images is to be looked at as if it did."""
    needing = [
        type(callback).__name__ for callback in callbacks if isinstance(callback, SampleScores | PictureCallback)
    ]
    if needing and not isinstance(model, GenerativeModel):
        raise ConfigError(
            f"{type(model).__name__} makes no images, which {', '.join(needing)} would look at; "
            "leave scores= and callbacks= away, the model brings its own"
        )


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """What a run is called by, in its records."""
    return {**cfg.choices, "seed": cfg.seed}


def build_callbacks(cfg: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    if cfg.callbacks.last_checkpoint is None:
        raise ConfigError("callbacks.last_checkpoint: this one can't be turned off, the run is tested from it")
    record = RunRecord(identity_of(cfg), OmegaConf.to_container(cfg, resolve=True))
    return [EpochSeed(cfg.seed), *build_onlookers(cfg, datamodule), record]


def build_onlookers(cfg: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    """The scores, which checkpoints go by and so come first, and the callbacks of the config."""
    chosen = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    return [*build_scores(cfg.scores, datamodule), *chosen]


def build_scores(config: DictConfig | None, datamodule: ImageDataModule) -> list[SampleScores]:
    return [instantiate(config)(datamodule=datamodule)] if config else []


def build_loggers(config: DictConfig, purge_step: int | None) -> list[Any]:
    """Loggers; a continued run's dashboard drops what was drawn after the checkpoint."""
    extra = {"lightning.pytorch.loggers.TensorBoardLogger": {"purge_step": purge_step}}
    return [instantiate(node, **extra.get(node._target_, {})) for node in config.values() if node is not None]


if __name__ == "__main__":
    run(main)

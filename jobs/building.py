"""From config to objects: data module, model, callbacks, loggers and trainer."""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from types import FrameType
from typing import Any

import lightning
import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig

from callbacks.epoch_seed import EpochSeed
from callbacks.latent_fit import LatentFit
from callbacks.picture_callback import PictureCallback
from callbacks.progress_bar import LoopProgress
from callbacks.run_recorder import RunRecorder
from callbacks.sample_scores import SampleScores
from callbacks.trainer_facts import STEP_HOOKS, callbacks_of, has_hook
from callbacks.whole_epochs import WholeEpochs
from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from run_folder.checkpoints import AtomicCheckpointIO

from .command_line import command_of_run, quiet_libraries
from .identity import identity_of
from .machine import check_images_are_dealt_out
from .memory import model_within_memory
from .sharding import Sharding, check_can_be_sharded

OF_LIGHTNING = "2.6."  # versions that `TrainingLoop` was held against; others train by their own loop

quiet_libraries()  # here, because Lightning turns its log on when it is imported


def build_datamodule(config: DictConfig) -> ImageDataModule:
    return instantiate(config)


def build_model(config: DictConfig, datamodule: ImageDataModule, compiled: bool = False) -> ImageModel:
    """The model of a config, for this data."""
    return build_model_for(facts_of(datamodule), config, compiled)


def build_model_for(facts: Mapping[str, Any], config: DictConfig, compiled: bool = False) -> ImageModel:
    """The model of a config, for data of which these are the facts. Raises ConfigError if it is too large to train."""
    with model_within_memory():
        model: ImageModel = offer(facts, instantiate(config))()
    model.to(memory_format=torch.channels_last)  # the layout in which convolutions are fastest
    if compiled:
        model.compile_networks()
    return model


def facts_of(datamodule: ImageDataModule) -> dict[str, Any]:
    """What exists only at run time, by the names under which constructors ask for it."""
    return {
        "image_shape": datamodule.image_shape,
        "num_classes": datamodule.num_classes,
        "class_names": datamodule.class_names,
        "training_images": datamodule.training_images,
    }


def offer(facts: Mapping[str, Any], factory: partial) -> partial:
    """Hand facts that exist only at run time to a factory, and to the factories that are its arguments themselves.

    Each gets those that its constructor names. So a part needs `_partial_: true` in its yaml to be offered a fact.
    """
    arguments = {
        name: offer(facts, value) if isinstance(value, partial) else value for name, value in factory.keywords.items()
    }
    named = facts.keys() & signature(factory.func).parameters.keys()
    return partial(factory.func, *factory.args, **{name: facts[name] for name in named} | arguments)


def build_trainer(cfg: DictConfig, model: ImageModel, callbacks: list[Callback]) -> Trainer:
    """Lightning's trainer, with a config's callbacks and loggers. Raises ConfigError if they don't suit the model."""
    check_makes_images(model, callbacks)
    check_steps(model, cfg.trainer)
    trainer: Trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=build_loggers(cfg.logger),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=cfg.callbacks.progress_bar is not None,
    )
    check_images_are_dealt_out(trainer, cfg.trainer)
    if isinstance(trainer.strategy, Sharding):
        check_can_be_sharded(model, trainer.precision, cfg.compile)
    shorten_steps(trainer)
    end_alone_by_signals(trainer)
    return trainer


def end_alone_by_signals(trainer: Trainer) -> None:
    """Have Lightning's handler of SIGTERM pass it on to the processes that this one has started, and do no more.

    It would also broadcast it: from within whatever it interrupts, and so for ever, where the other processes wait for
    another operation. The handler that comes after it (`ended_by_signals`) ends this process, and so the others.
    """
    connector = trainer._signal_connector

    def pass_on(signum: int, frame: FrameType | None) -> None:
        launcher = trainer.strategy.launcher
        if launcher is not None and not connector.received_sigterm:
            launcher.kill(signum)
        connector.received_sigterm = True

    setattr(connector, "_sigterm_notifier_fn", pass_on)  # noqa: B010


def shorten_steps(trainer: Trainer) -> None:
    """Take what does nothing in this run out of the path of a training step."""
    leave_out_empty_hooks(trainer)
    if lightning.__version__.startswith(OF_LIGHTNING):
        from .training_loop import TrainingLoop  # of names that another version may not have

        trainer.fit_loop.epoch_loop = TrainingLoop(trainer)


def leave_out_empty_hooks(trainer: Trainer) -> None:
    """Set the hooks of a training step that a callback inherits, and that do nothing, to None.

    Lightning leaves out what can't be called; a dozen callbacks six times a step are felt in steps of milliseconds.
    """
    for callback in callbacks_of(trainer):
        for hook in STEP_HOOKS:
            if not has_hook(callback, hook):
                setattr(callback, hook, None)


def check_steps(model: ImageModel, trainer: DictConfig) -> None:
    """Raise ConfigError if Lightning is to do what a model that steps its optimizers itself would have to."""
    if trainer.get("accumulate_grad_batches", 1) != 1 and not model.automatic_optimization:
        raise ConfigError(
            f"trainer.accumulate_grad_batches: {type(model).__name__} steps after every batch. Set data.batch_size"
        )


def seed_everything(seed: int) -> None:
    """Seed all global generators: weights depend on what is drawn from here on."""
    lightning.seed_everything(seed, workers=True, verbose=False)


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


def build_callbacks(cfg: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    if cfg.callbacks.last_checkpoint is None:
        raise ConfigError("callbacks.last_checkpoint: this one can't be turned off, the run is tested from it")
    record = RunRecorder(identity_of(cfg), command_of_run())
    first = [WholeEpochs(), EpochSeed(cfg.seed), LatentFit(cfg.seed), LoopProgress()]
    return [*first, *build_observers(cfg, datamodule), record]


def build_observers(cfg: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    """The scores, which come first since checkpoints go by them, and the callbacks of the config."""
    chosen = [instantiate(callback) for callback in cfg.callbacks.values() if callback is not None]
    return [*build_scores(cfg.scores, datamodule), *chosen]


def build_scores(config: DictConfig | None, datamodule: ImageDataModule) -> list[SampleScores]:
    return [offer(facts_of(datamodule), instantiate(config))(datamodule=datamodule)] if config else []


def build_loggers(config: DictConfig) -> list[Any]:
    return [instantiate(node) for node in config.values() if node is not None]

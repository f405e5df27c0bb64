"""Other projects' trainers on this project's networks and losses: optional, none of them is a dependency."""

import contextlib
import importlib.util
import io
import itertools
import logging
import tempfile
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig

from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_unit_range
from jobs.building import build_model
from lightning_modules.vae import VAE
from lightning_modules.values import Batch

from .timing import StepTimer

PEERS = ("pythae",)


def check_installed(peers: list[str]) -> None:
    """End the program with a message if a peer is not there."""
    for peer in peers:
        if importlib.util.find_spec(peer) is None:
            raise SystemExit(f"error: --peers {peer}: it is not installed here; pip install {peer}")


def pythae(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """pythae's trainer, with its progress bar; not for models that it can't train.

    The networks, the loss and fused Adam are ours, so that trainers are compared. It keeps no average of weights,
    and its images lie in memory as floats, as it wants them: they are never mirrored.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_config import BaseAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    logging.getLogger("pythae").setLevel(logging.ERROR)
    logging.getLogger("pythae.trainers.base_trainer.base_trainer").setLevel(logging.ERROR)
    seed_everything(cfg.seed, verbose=False)
    model = build_model(cfg.model, datamodule).train()
    if not isinstance(model, VAE):
        return False
    objective = model.objective

    class Wrapped(torch.nn.Module):
        model_name = "ours"
        model_config = BaseAEConfig(input_dim=datamodule.image_shape)

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, inputs: Any, **_: Any) -> Any:
            return ModelOutput(loss=objective(Batch(inputs["data"], inputs["labels"]))["loss"])

        def update(self) -> None:
            pass

    class Ended(Exception):
        pass

    class Stopwatch(TrainingCallback):
        begun = False

        def on_train_step_begin(self, *_: Any, **__: Any) -> None:  # of an epoch: a step is one, to pythae
            if not self.begun:  # else its first step began as the last epoch's last one ended
                self.begun = True
                self.on_train_step_end()

        def on_train_step_end(self, *_: Any, **__: Any) -> None:  # where the next one begins
            if not timer.begins_step(torch.device(trainer.device)):
                raise Ended

    images, labels = datamodule.split("train")
    with (
        contextlib.suppress(Ended),
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        adam = {key: value for key, value in cfg.model.optimizer.items() if key in ("betas", "fused")}
        training = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=cfg.data.batch_size,
            learning_rate=cfg.model.optimizer.lr,
            optimizer_params={**adam, "betas": tuple(adam["betas"])},
            num_epochs=1,
            no_cuda=cfg.trainer.accelerator == "cpu",
        )
        data = BaseDataset(to_unit_range(images), labels)
        trainer = BaseTrainer(Wrapped(), data, training_config=training, callbacks=[Stopwatch()])
        trainer.prepare_training()
        for epoch in itertools.count(1):
            trainer.train_step(epoch)
    return True

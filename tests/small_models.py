"""Small models on tiny images, batches for them, and Lightning's loop around them."""

from functools import cache
from typing import Any

import torch
from conftest import TinyImages, composed
from lightning import Callback, Trainer
from omegaconf import DictConfig
from torch import Tensor, nn

from datamodules.image_datamodule import ImageDataModule
from jobs.building import build_model
from lightning_modules.values import Batch

SHAPE = (1, 8, 8)
NUM_CLASSES = 3  # of TinyImages
SMALL = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]


def build(*overrides: str, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Any:
    """The model that `train.py <overrides>` would train, with small networks, for TinyImages."""
    config = model_config(*overrides)
    torch.manual_seed(seed)
    return build_model(config, TinyImages(shape))


@cache
def model_config(*overrides: str) -> DictConfig:
    return composed(*SMALL, *overrides).model


def fit(model: Any, datamodule: ImageDataModule | None = None, *callbacks: Callback, **options: Any) -> Trainer:
    """Train for one epoch, unless `options` of the Trainer say otherwise."""
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=list(callbacks), **({"max_epochs": 1, "enable_progress_bar": False} | options),
    )  # fmt: skip
    trainer.fit(model, datamodule=datamodule or TinyImages(SHAPE))
    return trainer


def random_batch(size: int = 4, seed: int = 0, shape: tuple[int, int, int] = SHAPE, dtype=torch.float32) -> Batch:
    """Images in [0, 1] with labels; another `seed`, another batch."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, *shape, generator=generator, dtype=dtype)
    return Batch(images, torch.randint(NUM_CLASSES, (size,), generator=generator))


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def same(before: list[Tensor], network: nn.Module) -> bool:
    return all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))

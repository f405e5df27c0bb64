"""Ways to make the bare loop's step quicker, which this project takes or might take: measured by `--variants`."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import seed_everything
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from datamodules.image_datamodule import ImageDataModule
from foundation.allocator import keep_freed_memory
from jobs.building import build_model

from .loops import OneOptimizerStep, bare, bare_step, device_of, shuffled, train
from .timing import StepTimer

VARIANTS = ("kept_memory", "compiled_step", "fused_backward")


def kept_memory(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """The bare loop with freed memory kept, as this project's programs keep it."""
    keep_freed_memory()
    return bare(cfg, datamodule, timer)


def compiled_step(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """The bare loop with networks and loss compiled as one function, and the optimizer's step as another.

    Not for models with more than one optimizer: the gradient of a penalty's gradient can't be compiled.
    """
    return variant(with_compiled_step, cfg, datamodule, timer)


def fused_backward(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    """The bare loop where every weight is stepped, and its gradient freed, as soon as that is known."""
    return variant(with_fused_backward, cfg, datamodule, timer)


def variant(change: Callable[[Any], bool], cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    seed_everything(cfg.seed, verbose=False)
    device = device_of(cfg)
    step = bare_step(build_model(cfg.model, datamodule).to(device).train(), cfg.trainer.precision)
    if not change(step):
        return False
    return train(step, shuffled(datamodule, device), timer, device)


def with_compiled_step(step: Any) -> bool:
    """Compile a step's loss and its optimizer; False if it can't be."""
    if not isinstance(step, OneOptimizerStep):
        return False
    for group in step.optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])  # a number would be compiled in
        group["fused"] = False  # a fused kernel can't be compiled into another
    compute = torch.compile(step.loss_of)
    update = torch.compile(step.optimizer.step)

    def descend(optimizer: Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        update()

    step.loss_of, step.descend = compute, descend  # type: ignore[method-assign]
    return True


def with_fused_backward(step: Any) -> bool:
    """Have every weight stepped by an optimizer of its own within the backward pass."""
    optimizers = [value for value in vars(step).values() if isinstance(value, Optimizer)]
    if not optimizers:
        return False
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            options = {key: value for key, value in group.items() if key != "params"}
            for parameter in group["params"]:
                parameter.register_post_accumulate_grad_hook(Update(type(optimizer)([parameter], **options)))
    step.descend = lambda optimizer, loss: loss.backward()
    return True


class Update:
    """A hook that steps one parameter by its own optimizer and frees its gradient."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def __call__(self, parameter: Tensor) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

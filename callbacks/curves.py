"""Curves of a run: the terms of its steps, gradient norms and learning rates, against training images seen."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.image_model import ImageModel

from .gradient_norms import gradient_norms, networks_of
from .readback import ReadbackQueue
from .scalars import TrainingTime, log_results, log_scalars
from .trainer_facts import log_every_n_steps


class Curves(Callback):
    """Logs what the steps return: training's every `trainer.log_every_n_steps` batches, or the last batch of a run
    that has fewer, with learning rates and gradient norms by network; validation's and test's as means over all images
    of their split.

    Training does not wait for its curves: on a GPU a point is written once it has come, at the latest with the epoch.
    """

    def __init__(self) -> None:
        self._terms: dict[str, Tensor] = {}
        self._gradient_norms: dict[str, Tensor] = {}
        self._readbacks: ReadbackQueue[tuple[TrainingTime, dict[str, float]]] = ReadbackQueue()
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: ImageModel, optimizer: Optimizer) -> None:
        if _is_logged_within(trainer, pl_module.optimizers_period) or _is_before_first_point(trainer):
            self._gradient_norms |= gradient_norms(optimizer, pl_module)
            self._terms |= {f"train/{name}": value for name, value in pl_module.gradient_terms().items()}

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: ImageModel,
        outputs: Mapping[str, Tensor],
        batch: Any,
        batch_idx: int,
    ) -> None:
        # The latest of every term: a generator that steps in one batch of several has none in the logged one.
        self._terms |= {f"train/{name}": value.detach() for name, value in outputs.items()}
        if _is_logged_within(trainer, 1):
            self._add_point(trainer, pl_module)
            self._log_arrived(trainer, wait=False)

    def _add_point(self, trainer: Trainer, pl_module: ImageModel) -> None:
        tensors = self._terms | self._gradient_norms
        self._terms, self._gradient_norms = {}, {}
        rates = {
            f"learning_rate/{name}": optimizer.param_groups[0]["lr"]
            for optimizer in trainer.optimizers
            for name in networks_of(optimizer, pl_module)
        }
        self._readbacks.add((TrainingTime.now(trainer, pl_module), rates), tensors)

    def _log_arrived(self, trainer: Trainer, wait: bool) -> None:
        for (time, rates), scalars in self._readbacks.pop_arrived(wait):
            log_scalars(trainer, scalars | rates, time)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._log_arrived(trainer, wait=True)
        for logger in trainer.loggers:
            logger.save()

    def on_train_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if _is_before_first_point(trainer):  # a run of fewer batches than lie between two points has one, its last
            self._add_point(trainer, pl_module)
            self.on_train_epoch_end(trainer, pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: ImageModel, outputs: Mapping[str, Tensor], batch: Any, *_: Any
    ) -> None:
        self._add(outputs, size=len(batch[0]))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: ImageModel, outputs: Mapping[str, Tensor], batch: Any, *_: Any
    ) -> None:
        self._add(outputs, size=len(batch[0]))

    def _add(self, outputs: Mapping[str, Tensor], size: int) -> None:
        """Count a batch's means by its size: the last batch of a split may be smaller."""
        self._count += size
        for name, value in outputs.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value * size

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._log_means(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        self._log_means(trainer, pl_module, "test")

    def _log_means(self, trainer: Trainer, model: ImageModel, split: str) -> None:
        count = trainer.strategy.reduce(torch.tensor(float(self._count), device=model.device), reduce_op="sum")
        sums = {name: trainer.strategy.reduce(total, reduce_op="sum") for name, total in self._sums.items()}
        means = {f"{split}/{name}": float(total / count) for name, total in sums.items()}
        self._sums, self._count = {}, 0
        log_results(trainer, model, means)


def _is_logged_within(trainer: Trainer, batches: int) -> bool:
    """Whether the batch in work, or one of the `batches - 1` after it, is one whose scalars are written."""
    return -(trainer.fit_loop.epoch_loop.total_batch_idx + 1) % log_every_n_steps(trainer) < batches


def _is_before_first_point(trainer: Trainer) -> bool:
    """Whether no batch of the run, the one in work included, is one whose scalars are written."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1 < log_every_n_steps(trainer)

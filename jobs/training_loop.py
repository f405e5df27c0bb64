"""Lightning's loop over the batches of an epoch, without the calls in it that do nothing in the run at hand."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.core.hooks import DataHooks
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from callbacks.profiler import NoProfiler
from callbacks.trainer_facts import STEP_HOOKS, callbacks_of, datamodule_of, has_hook
from lightning_modules.image_model import ImageModel

from .strategies import GradientAveraging

# Methods that a step of Lightning's goes through: a model that has its own of one of these is stepped by Lightning.
OPTIMIZATION = (
    "optimizer_step", "optimizer_zero_grad", "backward", "manual_backward", "configure_gradient_clipping",
    "clip_gradients", "on_before_backward", "on_after_backward", "on_before_zero_grad", "lr_scheduler_step",
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
)  # fmt: skip
HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")
WITHIN_BACKWARD = tuple(name for name in STEP_HOOKS if name not in HOOKS)  # hooks that no callback here has


class TrainingLoop(_TrainingEpochLoop):
    """Does in each batch what Lightning's loop does, in its order, on the same counters.

    Lightning looks up every hook of every callback, asks for signatures and overridden methods, and wraps each call for
    a profiler, in each batch anew: a tenth of a step of 8 ms. Here they are found once an epoch. Where more is asked
    for than a device for each process, one step of one optimizer a batch or a model's own, and hooks, the batch is
    Lightning's.
    """

    def __init__(self, trainer: Trainer) -> None:
        before: _TrainingEpochLoop = trainer.fit_loop.epoch_loop
        super().__init__(trainer, before.min_steps, before.max_steps)
        self.val_loop = before.val_loop
        self._is_plain = self._validates_at_end = False
        self._hooks: dict[str, list[Callable[..., None]]] = {}

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        callbacks = callbacks_of(self.trainer)
        self._is_plain = is_plain(self.trainer) and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        self._validates_at_end = self._is_plain and validates_at_end(self.trainer)
        self._hooks = {name: [getattr(each, name) for each in callbacks if has_hook(each, name)] for name in HOOKS}

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if not self._is_plain or self.restarting:
            super().advance(data_fetcher)
            return
        trainer, progress = self.trainer, self.batch_progress
        connector = trainer._logger_connector
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = self._on_device(batch)
        progress.increment_ready()
        if connector._first_loop_iter is not False:
            connector.on_batch_start(batch)
        else:  # what that does in all batches but the first two
            self._results.batch, self._results.batch_size = batch, None
        if self._call("on_train_batch_start", batch, batch_idx) == -1:  # the model skips the rest of the epoch
            progress.increment_by(0, is_last_batch=True)
            progress.increment_processed()
            raise StopIteration
        progress.increment_started()
        outputs = self._optimize(batch, batch_idx)
        progress.increment_processed()
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        if self._results:  # something was logged by `self.log`
            connector.on_batch_end()
        self._results.batch = None
        progress.increment_completed()
        if self._results:
            connector.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        trainer = self.trainer
        ends = self.batch_progress.is_last_batch or trainer.should_stop or trainer.received_sigterm
        ends = ends or self._skip_next_val
        if ends or not self._validates_at_end:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a hook of the callbacks, then the model's, and return what that says."""
        trainer, module = self.trainer, self.trainer.lightning_module
        caller = module.__dict__["_current_fx_name"]
        module.__dict__["_current_fx_name"] = name  # by which `self.log` knows where it is called
        for hook in self._hooks[name]:
            hook(trainer, module, *arguments)
        answer = getattr(module, name)(*arguments)
        module.__dict__["_current_fx_name"] = caller
        return answer

    def _on_device(self, batch: Any) -> Any:
        trainer = self.trainer
        device = trainer.strategy.root_device
        batch = trainer.lightning_module.transfer_batch_to_device(batch, device, 0) if device.type != "cpu" else batch
        return datamodule_of(trainer).on_after_batch_transfer(batch, 0)

    def _optimize(self, batch: Any, batch_idx: int) -> Mapping[str, Any]:
        if not self.trainer.lightning_module.automatic_optimization:
            return self._optimize_by_hand(batch, batch_idx)
        trainer, module, optimization = self.trainer, self.trainer.lightning_module, self.automatic_optimization
        (optimizer,) = trainer.optimizers
        counts = optimization.optim_progress.optimizer
        outputs: dict[str, Any] = {}

        def closure() -> Tensor:
            module.__dict__["_current_fx_name"] = "training_step"
            terms = cast(dict[str, Tensor], trainer.strategy.training_step(batch, batch_idx))
            counts.zero_grad.increment_ready()
            counts.zero_grad.increment_started()
            optimizer.zero_grad()
            counts.zero_grad.increment_completed()
            self._backward(terms["loss"], optimizer)
            outputs.update({name: term.detach() for name, term in terms.items()})
            return outputs["loss"]

        counts.step.increment_ready()
        optimizer.step(closure)  # type: ignore[arg-type]  # a loss as a tensor is what PyTorch takes
        counts.step.increment_completed()
        module.__dict__["_current_fx_name"] = None
        return outputs

    def _optimize_by_hand(self, batch: Any, batch_idx: int) -> Mapping[str, Any]:
        """A step of a model that steps its optimizers itself."""
        module = self.trainer.lightning_module
        self.manual_optimization.on_run_start()  # has the optimizers count their steps
        module.__dict__.update(_current_fx_name="training_step", short_descend=self._descend)
        try:
            terms = cast(dict[str, Tensor], self.trainer.strategy.training_step(batch, batch_idx))
        finally:
            module.__dict__.update(_current_fx_name=None, short_descend=None)
        return {name: term.detach() for name, term in terms.items()}

    def _descend(self, optimizer: LightningOptimizer, loss: Tensor) -> None:
        optimizer.optimizer.zero_grad()
        self._backward(loss, optimizer.optimizer)
        optimizer._on_before_step()
        optimizer.optimizer.step()
        optimizer._on_after_step()

    def _backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        loss.backward()
        if isinstance(self.trainer.strategy, GradientAveraging):
            self.trainer.strategy.average_gradients(optimizer)
        self._call("on_before_optimizer_step", optimizer)


def is_plain(trainer: Trainer) -> bool:
    """Whether nothing is asked of a training step beyond what `TrainingLoop` does itself."""
    module = trainer.lightning_module
    precision = trainer.precision_plugin
    return (
        isinstance(module, ImageModel)
        and not any(overrides(module, LightningModule, name) for name in OPTIMIZATION)
        and all(not has_hook(each, name) for each in callbacks_of(trainer) for name in WITHIN_BACKWARD)
        and type(trainer.strategy) in (SingleDeviceStrategy, GradientAveraging)
        and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
        and isinstance(trainer.profiler, NoProfiler)  # type: ignore[attr-defined]
        and trainer.accumulate_grad_batches == 1
        and not trainer.gradient_clip_val
        and not trainer.fast_dev_run  # type: ignore[attr-defined]
        and trainer.datamodule is not None  # type: ignore[attr-defined]
        and not any(
            overrides(datamodule_of(trainer), DataHooks, name)
            for name in ("on_before_batch_transfer", "transfer_batch_to_device")
        )
        and (not module.automatic_optimization or len(trainer.optimizers) == 1)
        and not trainer.strategy.lr_scheduler_configs
    )


def validates_at_end(trainer: Trainer) -> bool:
    """Whether no batch before an epoch's last is one to validate after."""
    is_by_batches = trainer._val_check_time_interval is None  # type: ignore[attr-defined]
    return is_by_batches and trainer.val_check_batch in (inf, trainer.num_training_batches)


def overrides(instance: object, base: type, name: str) -> bool:
    """Whether a class has another method of this name than one that it is derived from."""
    return getattr(type(instance), name) is not getattr(base, name)

"""How several processes train one model together: the strategy of trainer=ddp."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from lightning import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

BUCKET_BYTES = 25 * 2**20  # as many as DDP sends at once


class GradientAveraging(DDPStrategy):
    """Before an optimizer steps, its gradients become the mean over all processes: those of its own weights alone.

    PyTorch's DDP sums the gradients of all weights after each backward pass: of a GAN, whose players step in turn, half
    of what it sends are zeros. Here nothing is sent until an optimizer steps; clipping, the scaling of float16 and
    callbacks see the mean. What is given up: DDP sends the last layers' gradients while it computes the first ones'.
    Models here are one or two of its buckets, which it sends at the end, too.

    Processes start with the weights and buffers of the first. Buffers are each process's own until the last batch of an
    epoch (`ImageModel`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._means: WeakKeyDictionary[Optimizer, GradientMean] = WeakKeyDictionary()

    def configure_ddp(self) -> None:
        """In the place of a wrapper around the model, which would have hooks of its own."""
        assert isinstance(self.model, LightningModule)
        for tensors in by_dtype([*self.model.parameters(), *self.model.buffers()]):
            for bucket in map(Bucket, buckets(tensors)):
                bucket.fill(bucket.tensors)
                dist.broadcast(bucket.flat, src=0)
                bucket.copy_to(bucket.tensors)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: LightningModule | nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        def closure_with_mean() -> Any:  # where the closure has the backward pass in it, or comes after one
            result = closure()
            self.average_gradients(optimizer)
            return result

        return super().optimizer_step(optimizer, closure_with_mean, model, **kwargs)

    def average_gradients(self, optimizer: Optimizer) -> None:
        optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        if optimizer not in self._means:
            self._means[optimizer] = GradientMean(
                [
                    parameter
                    for group in optimizer.param_groups
                    for parameter in group["params"]
                    if not isinstance(parameter, DTensor)  # of which FSDP has averaged them
                ]
            )
        self._means[optimizer]()


class GradientMean:
    """Puts the mean over all processes in the place of the gradients of some parameters.

    One that has a gradient in some processes alone counts as zero in the others, and has one in all of them afterwards;
    one that has a gradient in none is left without.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.buckets = [Bucket(bucket) for same in by_dtype(parameters) for bucket in buckets(same)]

    @torch.no_grad()
    def __call__(self) -> None:
        share = 1 / dist.get_world_size()
        waiting = []
        for bucket in self.buckets:
            bucket.fill([parameter.grad for parameter in bucket.tensors])
            bucket.flat.mul_(share)  # before they are summed, where float16 would be too small for the sum
            waiting.append(dist.all_reduce(bucket.flat, async_op=True))
        for bucket, work in zip(self.buckets, waiting, strict=True):
            work.wait()
            without = [index for index, parameter in enumerate(bucket.tensors) if parameter.grad is None]
            if without:  # only then the device is waited for
                found_elsewhere = (bucket.present > 0).tolist()
                for index in without:
                    if found_elsewhere[index]:
                        bucket.tensors[index].grad = torch.empty_like(bucket.tensors[index])
            bucket.copy_to([parameter.grad for parameter in bucket.tensors])


class Bucket:
    """One piece of memory for what belongs to some tensors of one type: numbers in each's own layout, and whether there
    are any.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        sizes = [tensor.numel() for tensor in tensors]
        self.flat = tensors[0].new_zeros(sum(sizes) + len(sizes))
        *parts, self.present = self.flat.split([*sizes, len(sizes)])
        self.views = [
            part.as_strided(tensor.shape, torch.empty_like(tensor, device="meta").stride(), part.storage_offset())
            for part, tensor in zip(parts, tensors, strict=True)
        ]

    @torch.no_grad()
    def fill(self, values: Sequence[Tensor | None]) -> None:
        """Copy values, or zeros for those that are missing."""
        if any(value is None for value in values):
            self.flat.zero_()
            self.present.copy_(torch.tensor([value is not None for value in values]))
        else:
            self.present.fill_(1)
        pairs = [(view, value) for view, value in zip(self.views, values, strict=True) if value is not None]
        if pairs:
            torch._foreach_copy_([view for view, _ in pairs], [value for _, value in pairs])

    @torch.no_grad()
    def copy_to(self, values: Sequence[Tensor | None]) -> None:
        """Copy back to values, but for those that are missing."""
        pairs = [(value, view) for value, view in zip(values, self.views, strict=True) if value is not None]
        if pairs:
            torch._foreach_copy_([value for value, _ in pairs], [view for _, view in pairs])


def by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Those of each type, in their order."""
    found: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault(tensor.dtype, []).append(tensor)
    return list(found.values())


def buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Parts of a sequence of `BUCKET_BYTES`, or a little more, and what remains."""
    parts: list[list[Tensor]] = []
    size = BUCKET_BYTES
    for tensor in tensors:
        if size >= BUCKET_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += tensor.nbytes
    return parts

"""The model of what a training step costs: operations, bytes that its kernels move, bytes that its processes exchange.

A kernel takes as long as its arithmetic or its memory traffic, whichever is longer, for a processor loads while it
computes. Kernels follow one another, and so does what processes send, so those times are summed.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks import loops
from jobs.building import build_model_for
from lightning_modules.image_model import ImageModel
from lightning_modules.values import Batch

aten = torch.ops.aten
ALLOCATIONS = {aten.empty, aten.empty_strided, aten.empty_like, aten.new_empty, aten.new_empty_strided}
GATHERS = {aten.index, aten.index_select, aten.gather, aten.embedding}  # read as much of their source as they return


@dataclass(frozen=True)
class Work:
    """Training of one process, until every optimizer has stepped: one step, or `n_critic` of them."""

    images: int
    kernels: Mapping[tuple[int, int], int]  # (operations, bytes read and written) of a kernel: how often it runs
    networks: Mapping[str, int]  # trained weights by role
    averaged: int  # weights that a moving average is kept of
    gradients: Sequence[int]  # bytes of those that each optimizer's step averages over the processes, in float32
    peak_bytes: int  # of all tensors that are alive at once

    @property
    def flops(self) -> int:
        return sum(flops * times for (flops, _), times in self.kernels.items())

    @property
    def bytes_moved(self) -> int:
        return sum(moved * times for (_, moved), times in self.kernels.items())

    @property
    def starts(self) -> int:
        """How many kernels run."""
        return sum(self.kernels.values())

    def bytes_sent(self, processes: int) -> float:
        """By each of so many processes, to average gradients."""
        return sum(ring_bytes(size, processes) for size in self.gradients)

    @property
    def state_bytes(self) -> int:
        """Weights, gradients, Adam's two moments and moving averages, in float32: what is there whatever the batch."""
        return 16 * sum(self.networks.values()) + 4 * self.averaged


@dataclass(frozen=True)
class Machine:
    """What one process has of a machine."""

    flops_per_second: float  # of a matrix product
    bytes_per_second: float  # of memory
    seconds_per_kernel: float  # until one is started
    starts_ahead: bool  # whether kernels are started while others run, as on a GPU


@dataclass(frozen=True)
class Network:
    """What joins processes."""

    processes: int
    bytes_per_second: float  # of one process, sent
    latency: float  # seconds of an operation of all of them that carries nothing

    def all_reduce_seconds(self, size: int) -> float:
        return self.latency + ring_bytes(size, self.processes) / self.bytes_per_second


@dataclass(frozen=True)
class Cost:
    """Seconds of some work by what they go to."""

    compute: float  # kernels that are bound by arithmetic
    memory: float  # kernels that are bound by memory traffic
    starting: float  # kernels' starts, as far as nothing hides them
    network: float

    @property
    def seconds(self) -> float:
        return self.compute + self.memory + self.starting + self.network

    @property
    def bound(self) -> str:
        """What most of the time goes to."""
        parts = {"arithmetic": self.compute, "memory": self.memory, "starts": self.starting, "network": self.network}
        return max(parts, key=lambda name: parts[name])


def ring_bytes(size: int, processes: int) -> float:
    """What each process sends in a ring all-reduce of so many bytes: all but its own part, twice."""
    return 2 * (processes - 1) / processes * size


def cost_of(work: Work, machine: Machine, network: Network | None = None) -> Cost:
    """What work costs: of each kernel the longer of arithmetic and traffic, and the sum of those."""
    compute = memory = 0.0
    for (flops, moved), times in work.kernels.items():
        arithmetic, traffic = flops / machine.flops_per_second, moved / machine.bytes_per_second
        if arithmetic > traffic:
            compute += times * arithmetic
        else:
            memory += times * traffic
    starting = work.starts * machine.seconds_per_kernel
    if machine.starts_ahead:
        starting = max(0.0, starting - compute - memory)
    sent = 0.0
    if network and network.processes > 1:
        sent = sum(map(network.all_reduce_seconds, work.gradients))
    return Cost(compute, memory, starting, sent)


def work_of(cfg: DictConfig, facts: Mapping[str, Any], batch_size: int, precision: str = "32-true") -> Work:
    """What the bare loop's steps of a config's model do: counted on tensors without content, nothing is computed."""
    model = build_model_for(facts, cfg.model).train()
    weights = {role: sum(p.numel() for p in trained(network)) for role, network in model.networks.items()}
    averaged = sum(p.numel() for p in getattr(model, "averages", nn.Module()).parameters())
    mode = FakeTensorMode()
    empty(model, mode)
    stepped: list[int] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: stepped.append(weights_of(optimizer)))
    with mode, StepCounter() as counter:
        step = loops.bare_step(model, precision)
        for _ in range(2):  # in the first round optimizers make what they keep
            stepped.clear()
            counter.begin()
            for _ in range(model.optimizers_period):
                images = torch.rand(batch_size, *facts["image_shape"])
                step(Batch(images, torch.zeros(batch_size, dtype=torch.long)))
    hook.remove()
    images_seen = batch_size * model.optimizers_period
    gradients = [4 * count for count in stepped]
    return Work(images_seen, counter.kernels, weights, averaged, gradients, counter.peak_bytes)


def weights_of(optimizer: Optimizer) -> int:
    return sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])


def trained(network: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in network.parameters() if parameter.requires_grad)


def empty(model: ImageModel, mode: FakeTensorMode) -> None:
    """Replace a model's tensors by ones of a mode, which have a shape and no content."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            fake = mode.from_tensor(parameter.detach())
            setattr(module, name, nn.Parameter(fake, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer))


@dataclass
class _Memory:
    alive: int = 0
    peak: int = 0
    known: set[int] = field(default_factory=set)

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size


class StepCounter(TorchDispatchMode):
    """Counts every kernel inside: its operations, and the bytes that it reads and writes, each tensor once.

    torch's FlopCounterMode can't follow a gradient's gradient. What a cache saves, or a second reading costs, is not
    in the bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[tuple[int, int]] = Counter()
        self._memory = _Memory()

    def begin(self) -> None:
        """Count anew, but for what is alive."""
        self.kernels.clear()
        self._memory.peak = self._memory.alive

    @property
    def flops(self) -> int:
        return sum(flops * times for (flops, _), times in self.kernels.items())

    @property
    def peak_bytes(self) -> int:
        return self._memory.peak

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        for tensor in tensors((args, kwargs, result)):
            self._memory.add(tensor)
        count: Callable[..., int] | None = flop_registry.get(function._overloadpacket)
        flops = int(count(*args, **kwargs, out_val=result)) if count else 0
        asks = function.namespace == "prim"  # of a tensor without content, on which device it is
        if flops or not (asks or function.is_view or function._overloadpacket in ALLOCATIONS):
            moved = bytes_moved(function, args, kwargs, result)
            if flops or moved:
                self.kernels[flops, moved] += 1
        return result


def bytes_moved(function: Any, args: Any, kwargs: Any, result: Any) -> int:
    """What a kernel reads and writes, by its schema: its tensors, and twice those that it changes."""
    schema = function._schema
    if function._overloadpacket in GATHERS:
        return 2 * sum(map(size_of, tensors(result))) + sum(map(size_of, tensors(args[1:])))
    moved = sum(map(size_of, tensors((args, kwargs))))
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | kwargs
    for argument in schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            moved += sum(map(size_of, tensors(given.get(argument.name))))
    if all(returned.alias_info is None for returned in schema.returns):
        moved += sum(map(size_of, tensors(result)))
    return moved


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def size_of(tensor: Tensor) -> int:
    """Bytes of the elements that are stored: of what is broadcast those of one copy."""
    count = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count * tensor.element_size() if tensor.numel() else 0

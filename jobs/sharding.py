"""Sharing out among processes what optimizers need: the strategy of trainer=fsdp."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from foundation.errors import ConfigError
from lightning_modules.constraints import WeightClipping
from lightning_modules.image_model import ImageModel

from .strategies import GradientAveraging

# Networks by role that training asks by their `forward` alone, in which FSDP finds that gradients are due.
SHARDED = {"encoder", "decoder", "generator", "discriminator"}


class Sharding(GradientAveraging):
    """Each process keeps its share of every network's gradients and moments, and steps its share of the weights.

    Every network is a unit of PyTorch's FSDP (`fully_shard`; Zhao et al. 2023, arXiv:2304.11277). Weights are gathered
    once, right after their optimizer's step, and stay whole until the next (stage 2 of ZeRO, Rajbhandari et al. 2020,
    arXiv:1910.02054): a penalty's second derivative needs them when FSDP would have let them go, and whoever looks at a
    model does so in one process, or in each at other times. So weights and their averages have to fit into every GPU.

    What has weights besides, a likelihood or a prior, is in every process, its gradients averaged. Checkpoints are as
    those of one process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sharded: list[ShardedNetwork] = []
        self._orders: WeakKeyDictionary[Optimizer, ParameterOrder] = WeakKeyDictionary()

    def setup(self, trainer: Trainer) -> None:
        assert self.accelerator is not None and self.model is not None
        if trainer.state.fn == TrainerFn.FITTING:
            super().setup(trainer)
        else:  # as there, but for a broadcast of weights, which each process has read
            self.accelerator.setup(trainer)
            self.model_to_device()
            self.setup_precision_plugin()
        self.gather()

    def configure_ddp(self) -> None:
        super().configure_ddp()
        module = self.lightning_module
        assert isinstance(module, ImageModel)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        networks = [network for role, network in module.networks.items() if role in SHARDED]
        self._sharded = [ShardedNetwork.of(network, mesh) for network in networks]
        let_toggles_reach(module, self._sharded)

    def setup_optimizers(self, trainer: Trainer) -> None:
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            self._orders[optimizer] = ParameterOrder.split(optimizer)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        model: LightningModule | nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        result = super().optimizer_step(optimizer, closure, model, **kwargs)
        stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for sharded in self._sharded:
            if id(sharded.shares[0]) in stepped:
                sharded.gather()
        return result

    def gather(self) -> None:
        """Have all weights whole, as the processes' shares are."""
        for sharded in self._sharded:
            sharded.gather()

    def teardown(self) -> None:
        for sharded in self._sharded:  # one that was stopped in its forward pass lets no whole weights go otherwise
            sharded.network.set_reshard_after_forward(True)
        try:
            super().teardown()
        finally:
            for sharded in self._sharded:  # of which a test may follow
                sharded.network.set_reshard_after_forward(False)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights, in the first process, which writes them."""
        kept = self.is_global_zero
        found = {name: whole(value, kept) for name, value in super().lightning_module_state_dict().items()}
        self.gather()  # FSDP lets whole weights go before it states any
        return found if kept else {}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        given = {name: shared_as(own.get(name), value) for name, value in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": given}, strict)
        self.gather()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """That of whole weights, in the first process, which writes it."""
        optimizer = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        strides = chain.from_iterable(zip(map(id, one.shares), one.strides, strict=True) for one in self._sharded)
        return self._orders[optimizer].whole_state(optimizer, dict(strides), self.is_global_zero)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        states = zip(self.optimizers, checkpoint["optimizer_states"], strict=True)
        own = [self._orders[optimizer].own_state(optimizer, state) for optimizer, state in states]
        super().load_optimizer_state_dict({"optimizer_states": own})


def check_can_be_sharded(model: ImageModel, precision: str | int, compiled: bool) -> None:
    """Raise ConfigError for what does not go together with trainer=fsdp."""
    if not SHARDED & model.networks.keys():
        raise ConfigError(f"trainer=fsdp: {type(model).__name__} has no network that it shares out; take trainer=ddp")
    if isinstance(getattr(model, "constraint", None), WeightClipping):
        raise ConfigError(
            "trainer=fsdp: model/constraint=weight_clipping changes weights after their optimizer's step, which is of "
            "shares of them. Take a penalty instead (model=wgan_gp), or trainer=ddp"
        )
    if str(precision).startswith("16"):
        raise ConfigError(
            f"trainer=fsdp: trainer.precision={precision} scales gradients, which it can't where they are shared out; "
            "take bf16-mixed or 32-true, or trainer=ddp"
        )
    if compiled:
        raise ConfigError("trainer=fsdp: compile=true has not been tried with it; leave it out, or take trainer=ddp")


@dataclass
class ShardedNetwork:
    """A network of whose weights each process has a share."""

    network: FSDPModule
    shares: list[nn.Parameter]  # what optimizers step
    whole: list[nn.Parameter]  # what the network computes with, in the same order
    strides: list[tuple[int, ...]]  # as they were before, and are in a process of its own

    @classmethod
    def of(cls, network: nn.Module, mesh: DeviceMesh) -> "ShardedNetwork":
        strides = [parameter.stride() for parameter in network.parameters()]
        network.to(memory_format=torch.contiguous_format)  # FSDP knows no other
        sharded = fully_shard(network, mesh=mesh, reshard_after_forward=False)
        sharded.set_reshard_after_backward(False)
        shares = list(network.parameters())
        sharded.unshard()
        whole = list(network.parameters())
        sharded.reshard()
        return cls(sharded, shares, whole, strides)

    def gather(self) -> None:
        self.network.reshard()
        self.network.unshard()

    def follow_toggles(self) -> None:
        for share, whole in zip(self.shares, self.whole, strict=True):
            whole.requires_grad_(share.requires_grad)


def let_toggles_reach(module: LightningModule, networks: Sequence[ShardedNetwork]) -> None:
    """Have `toggled_optimizer`, which changes an optimizer's parameters, so shares, change whole weights with them."""
    toggled = module.toggled_optimizer

    @contextmanager
    def toggled_with_whole_weights(optimizer: Any) -> Iterator[None]:
        try:
            with toggled(optimizer):
                for network in networks:
                    network.follow_toggles()
                yield
        finally:
            for network in networks:
                network.follow_toggles()

    setattr(module, "toggled_optimizer", toggled_with_whole_weights)  # noqa: B010


class ParameterOrder:
    """The order of an optimizer's parameters, by which its state names them, before shares were put into groups apart.

    One group can't have both: operations on many tensors at once take shares or whole tensors.
    """

    def __init__(self, groups: list[list[nn.Parameter]], origins: list[int]) -> None:
        """`groups` as they were; `origins`: which of them each group of today comes from."""
        self.groups, self.origins = groups, origins
        self.places = {id(parameter): place for place, parameter in enumerate(chain.from_iterable(groups))}

    @classmethod
    def split(cls, optimizer: Optimizer) -> "ParameterOrder":
        """Have shares and whole tensors in groups of their own."""
        groups = [list(group["params"]) for group in optimizer.param_groups]
        origins = list(range(len(groups)))
        for index, parameters in enumerate(groups):
            shares = [parameter for parameter in parameters if isinstance(parameter, DTensor)]
            others = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
            if shares and others:
                optimizer.param_groups[index]["params"] = shares
                optimizer.add_param_group({**optimizer.param_groups[index], "params": others})
                origins.append(index)
        return cls(groups, origins)

    def whole_state(self, optimizer: Optimizer, strides: Mapping[int, tuple[int, ...]], kept: bool) -> dict[str, Any]:
        """The optimizer's state as of one that has whole tensors alone, in one process; nothing unless it is `kept`.

        `strides`, by the id of a parameter of which there are shares, are those of its weights there, and so of its
        moments: a fused optimizer pairs them by where they lie in memory, whatever they say of their layout.
        """
        state, parameters = optimizer.state_dict(), self._parameters_of(optimizer)
        values = {
            self.places[id(parameters[index])]: {
                name: laid_out(whole(value, kept), strides.get(id(parameters[index])))
                for name, value in of_parameter.items()
            }
            for index, of_parameter in state["state"].items()
        }
        if not kept:
            return {}
        settings = [state["param_groups"][self.origins.index(origin)] for origin in range(len(self.groups))]
        named = [[self.places[id(parameter)] for parameter in group] for group in self.groups]
        return {
            "state": dict(sorted(values.items())),
            "param_groups": [{**group, "params": names} for group, names in zip(settings, named, strict=True)],
        }

    def own_state(self, optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
        """What such an optimizer's state is of this one."""
        values = {
            index: {name: shared_as(parameter, value) for name, value in state["state"][place].items()}
            for index, parameter in enumerate(self._parameters_of(optimizer))
            if (place := self.places[id(parameter)]) in state["state"]
        }
        named = [group["params"] for group in optimizer.state_dict()["param_groups"]]
        return {
            "state": values,
            "param_groups": [
                {**state["param_groups"][origin], "params": names}
                for origin, names in zip(self.origins, named, strict=True)
            ],
        }

    def _parameters_of(self, optimizer: Optimizer) -> list[nn.Parameter]:
        return list(chain.from_iterable(group["params"] for group in optimizer.param_groups))


def whole(value: Any, kept: bool) -> Any:
    """A tensor of which processes have shares, put together on the CPU where it is `kept`; other values as they are."""
    if not isinstance(value, DTensor):
        return value
    together = value.full_tensor()
    return together.cpu() if kept else None


def laid_out(value: Any, strides: tuple[int, ...] | None) -> Any:
    """A tensor with these strides, if it is of as many dimensions; else the value."""
    if strides is None or not isinstance(value, Tensor) or value.ndim != len(strides):
        return value
    return torch.empty_strided(value.shape, strides, dtype=value.dtype, device=value.device).copy_(value)


def shared_as(like: Any, value: Any) -> Any:
    """This process's share of a whole tensor, where another of that shape is shared out; else the value."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    # Each process has read the same file: nothing has to be sent.
    return distribute_tensor(value.to(like.device).contiguous(), like.device_mesh, like.placements, src_data_rank=None)

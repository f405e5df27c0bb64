"""Norms of the gradients that an optimizer is about to step by, network by network."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lightning_modules.image_model import ImageModel

NORM = "gradient_norm/"


def gradient_norms(optimizer: Optimizer, model: ImageModel) -> dict[str, Tensor]:
    """{gradient_norm/<network>: a scalar on the model's device}, of the networks that the optimizer trains."""
    return {
        f"{NORM}{name}": get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        for name, network in networks_of(optimizer, model).items()
    }


def without_finite_moments(optimizers: Sequence[Optimizer], model: ImageModel) -> list[str]:
    """The networks of whose gradients an optimizer keeps a number that is none, such as the infinite mean of squares.

    Gradients whose squares overflow leave that, and Adam's steps are 0 from there on.
    """
    return [
        name
        for optimizer in optimizers
        if not all(moment.isfinite().all() for state in optimizer.state.values() for moment in tensors_in(state))
        for name in networks_of(optimizer, model)
    ]


def tensors_in(state: Mapping[str, Any]) -> list[Tensor]:
    """An optimizer's tensors for one parameter; this process's share of those that trainer=fsdp shares out."""
    found = [value for value in state.values() if isinstance(value, Tensor)]
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in found]


def networks_of(optimizer: Optimizer, model: ImageModel) -> dict[str, nn.Module]:
    """Those of a model's networks that an optimizer trains."""
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: net for name, net in model.networks.items() if id(next(net.parameters())) in owned}

"""Norms of the gradients that an optimizer is about to step by, network by network."""

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


def networks_of(optimizer: Optimizer, model: ImageModel) -> dict[str, nn.Module]:
    """Those of a model's networks that an optimizer trains."""
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: net for name, net in model.networks.items() if id(next(net.parameters())) in owned}

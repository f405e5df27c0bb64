"""Clipping of gradients, before every step of every optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, cast

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


class Clipping(ABC):
    """What an optimizer's gradients have to keep to."""

    @abstractmethod
    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        """Change in place the gradients of all parameters that one optimizer steps."""


class NoClipping(Clipping):
    """The neutral element: gradients are as they are."""

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        pass


class NormClipping(Clipping):
    """All gradients of an optimizer are scaled down together to a norm of `max_norm` where theirs is larger (Pascanu et
    al. 2013, arXiv:1211.5063, algorithm 1).
    """

    def __init__(self, max_norm: Annotated[float, Gt(0)]) -> None:
        self.max_norm = max_norm

    def __call__(self, parameters: Sequence[nn.Parameter]) -> None:
        with_gradients = [parameter for parameter in parameters if parameter.grad is not None]
        shares = [parameter for parameter in with_gradients if isinstance(parameter, DTensor)]  # of trainer=fsdp
        others = [parameter for parameter in with_gradients if not isinstance(parameter, DTensor)]
        kinds = [kind for kind in (shares, others) if kind]  # of which PyTorch takes no list together
        gradients = [[cast(Tensor, parameter.grad) for parameter in kind] for kind in kinds]
        norms = [over_all_processes(get_total_norm(of_kind)) for of_kind in gradients]
        for kind in kinds:
            clip_grads_with_norm_(kind, self.max_norm, norms[0] if len(norms) == 1 else torch.stack(norms).norm())


def over_all_processes(norm: Tensor) -> Tensor:
    """The norm of tensors of which each process may have a share."""
    return norm.full_tensor() if isinstance(norm, DTensor) else norm

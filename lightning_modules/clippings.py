"""Clipping of gradients, before every step of every optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt
from torch import nn
from torch.nn.utils import clip_grad_norm_


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
        clip_grad_norm_(parameters, self.max_norm)

"""Scalars on their way from the device, so that looking at them need not hold up the training that goes on."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

Occasion = TypeVar("Occasion")


class Readback:
    """Scalars of one moment. `read` waits for nothing that was queued on the device after that moment."""

    def __init__(self, scalars: Mapping[str, Tensor]) -> None:
        self.names = tuple(scalars)
        values = torch.stack([value.detach().float() for value in scalars.values()]) if scalars else torch.empty(0)
        self._values = values.to("cpu", non_blocking=True)
        self._event = torch.cuda.Event() if values.is_cuda else None
        if self._event:
            self._event.record()

    @property
    def arrived(self) -> bool:
        return self._event is None or self._event.query()

    def read(self) -> dict[str, float]:
        if self._event:
            self._event.synchronize()
        return dict(zip(self.names, self._values.tolist(), strict=True))


class UnderWay(Generic[Occasion]):
    """A queue of readbacks, each with what is to be known of its moment. On a CPU all have arrived at once."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Occasion, Readback]] = deque()

    def add(self, moment: Occasion, scalars: Mapping[str, Tensor]) -> None:
        self._queue.append((moment, Readback(scalars)))

    def arrived(self, wait: bool = False) -> Iterator[tuple[Occasion, dict[str, float]]]:
        """Those that have come, in their order; with `wait` all of them."""
        while self._queue and (wait or self._queue[0][1].arrived):
            moment, readback = self._queue.popleft()
            yield moment, readback.read()

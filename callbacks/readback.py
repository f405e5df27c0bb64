"""Reading scalars back from the device without holding up the training that goes on meanwhile."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

Context = TypeVar("Context")


class Readback:
    """Scalars being copied to the CPU. `read` waits for nothing that was queued on the device after this began."""

    def __init__(self, scalars: Mapping[str, Tensor]) -> None:
        self.names = tuple(scalars)
        self._event: torch.cuda.Event | None = None
        if all(value.device.type == "cpu" for value in scalars.values()):  # read one by one: quicker than stacked
            self._values: list[float] | Tensor = [value.item() for value in scalars.values()]
            return
        values = torch.stack([value.detach().float() for value in scalars.values()])
        self._values = values.to("cpu", non_blocking=True)
        self._event = torch.cuda.Event() if values.is_cuda else None
        if self._event:
            self._event.record()

    @property
    def has_arrived(self) -> bool:
        return self._event is None or self._event.query()

    def read(self) -> dict[str, float]:
        if self._event:
            self._event.synchronize()
        values = self._values.tolist() if isinstance(self._values, Tensor) else self._values
        return dict(zip(self.names, values, strict=True))


class ReadbackQueue(Generic[Context]):
    """Readbacks in the order they began, each with its context, such as the time. On a CPU all arrive at once."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Context, Readback]] = deque()

    def add(self, context: Context, scalars: Mapping[str, Tensor]) -> None:
        self._queue.append((context, Readback(scalars)))

    def pop_arrived(self, wait: bool = False) -> Iterator[tuple[Context, dict[str, float]]]:
        """Take out those that have arrived, in their order; with `wait` all of them."""
        while self._queue and (wait or self._queue[0][1].has_arrived):
            context, readback = self._queue.popleft()
            yield context, readback.read()

"""What the model of cost has to know of a machine and of the network between processes, measured."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from benchmarks.cost import Machine, Network, ring_bytes
from benchmarks.throughput import matrix_product_rate
from benchmarks.timing import wait_for

TRIAD = 2**24  # numbers of each of its three arrays, 64 MiB: more than caches hold
STARTS = 1000


def measured_machine(device: torch.device, precision: str) -> Machine:
    """Medians of a moment: where others use the machine too, of what they leave."""
    return Machine(
        flops_per_second=matrix_product_rate(device, precision, of_repeats=statistics.median),
        bytes_per_second=triad_rate(device),
        seconds_per_kernel=start_seconds(device),
        starts_ahead=device.type == "cuda",
    )


def triad_rate(device: torch.device) -> float:
    """Bytes a second of a = b + 2 c, as STREAM counts them: two arrays read, one written."""
    a, b, c = (torch.ones(TRIAD, device=device) for _ in range(3))

    def triad() -> None:
        torch.add(b, c, alpha=2, out=a)

    return 3 * a.nbytes / median_seconds(triad, device, repeats=7)


def start_seconds(device: torch.device) -> float:
    """What an operation costs that has nothing to do."""
    number = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(STARTS):
            number.add_(1)

    return median_seconds(many, device, repeats=5) / STARTS


def measured_network(device: torch.device, size: int) -> Network:
    """Of the processes that have joined, by all-reduces of nothing and of so many bytes."""
    nothing, much = torch.zeros(1, device=device), torch.zeros(size // 4, device=device)
    for tensor in (nothing, much):  # the first one connects
        dist.all_reduce(tensor)
    latency = median_seconds(lambda: dist.all_reduce(nothing), device, repeats=21)
    seconds = median_seconds(lambda: dist.all_reduce(much), device, repeats=7)
    sent = ring_bytes(size, dist.get_world_size())
    return Network(dist.get_world_size(), sent / max(seconds - latency, 1e-9), latency)


def median_seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Of several times, after a first that does not count."""
    taken = []
    for _ in range(1 + repeats):
        wait_for(device)
        start = time.perf_counter()
        run()
        wait_for(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])

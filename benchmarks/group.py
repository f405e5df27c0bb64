"""One of several processes that torchrun has started, which train together; the first writes what was measured.

benchmarks/scaling.py starts it, for its axes `processes` and `hosts`.
"""

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from benchmarks import loops
from benchmarks.cost import work_of
from benchmarks.machine import measured_machine, measured_network
from benchmarks.timing import WARM_UP, seconds_of
from jobs.building import facts_of
from jobs.composition import composed

INTERFACES = Path("/sys/class/net")


class SentBytes(Callback):
    """What this system's network interfaces have sent while the stopwatch ran, by the interface."""

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up, self.last = warm_up, warm_up + steps
        self.sent: dict[str, int] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        if batch_idx in (self.warm_up, self.last):
            self.sent = {name: total - self.sent.get(name, 0) for name, total in sent_so_far().items()}


def sent_so_far() -> dict[str, int]:
    """Bytes by interface; nothing where the system does not say."""
    files = INTERFACES.glob("*/statistics/tx_bytes")
    return {file.parents[1].name: int(file.read_text()) for file in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    cfg = composed(*arguments.overrides)
    device = loops.device_of(cfg)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    datamodule = loops.ready(cfg)
    work = work_of(cfg, facts_of(datamodule), cfg.data.batch_size, cfg.trainer.precision)
    dist.barrier()  # all measure at the same time, as they train
    machine = measured_machine(device, cfg.trainer.precision)
    network = measured_network(device, max(work.gradients))
    steps = min(arguments.steps, loops.steps_of_an_epoch(cfg, datamodule) - WARM_UP - 2)  # that its watcher can count
    if steps < 1:
        raise SystemExit("error: an epoch has too few batches to time them: data.batch_size=")
    watcher = SentBytes(WARM_UP, steps)
    seconds = seconds_of(partial(loops.project, watchers=[watcher]), cfg, datamodule, WARM_UP, steps) / steps
    if dist.get_rank() == 0:
        sent = {name: total / steps for name, total in watcher.sent.items()}
        found = {"step_seconds": seconds, "machine": asdict(machine), "network": asdict(network), "step_sent": sent}
        arguments.out.write_text(json.dumps(found))
    dist.barrier()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

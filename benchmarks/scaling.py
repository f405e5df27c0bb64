"""How cost grows along one axis at a time, measured, and by the model of cost in benchmarks/cost.py.

python benchmarks/scaling.py --data-root data            # every axis, the GAN on Imagenette unless --model says other
python benchmarks/scaling.py batch width --network mlp --data mnist

hosts are network namespaces of this machine (benchmarks/hosts.py: Linux, as root), unlimited and behind a slow cable.
What the machine can do is measured anew before each point, by the processes that then train.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from benchmarks import loops
from benchmarks.cost import Cost, Machine, Network, StepCounter, Work, cost_of, work_of
from benchmarks.hosts import several_hosts, why_not
from benchmarks.machine import measured_machine
from benchmarks.timing import WARM_UP, seconds_of
from callbacks.run_recorder import peak_memory_bytes, reset_peak_memory
from datamodules.image_datamodule import LabelledImages, TensorImageDataset
from jobs.building import facts_of
from jobs.composition import composed

PROJECT = Path(__file__).parents[1]


Row = dict[str, float]
HOST_PORT = 29500
USUAL_BATCH = 64


class NotHere(Exception):
    """An axis can't be measured on this machine; the message says why."""


def main() -> None:
    arguments = parse()
    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # what was begun is ended, hosts removed
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows: dict[str, list[Row]] = {}
    for axis in arguments.axes or AXES:
        print(f"\n{axis}")
        rows[axis] = []
        try:
            for row in AXES[axis](arguments):
                rows[axis].append(row)
                print("  " + "   ".join(f"{name} {value:,.4g}" for name, value in row.items()), flush=True)
        except NotHere as reason:
            print(f"  left out: {reason}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axes", nargs="*", metavar="axis", help=f"of {', '.join(AXES)}; default: all")
    parser.add_argument("--model", default="gan")
    parser.add_argument("--network", default="conv")
    parser.add_argument("--data", default="imagenette")
    parser.add_argument("--data-root", default="data", help="the folder with MNIST/raw and imagenette2-160")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each measurement")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: one for each core")
    parser.add_argument("--overrides", nargs="*", default=[], help="further choices, as train.py takes them")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    arguments = parser.parse_args()
    if unknown := [axis for axis in arguments.axes if axis not in AXES]:  # argparse's choices refuse an empty list
        parser.error(f"there is no axis {unknown[0]}; choose from {', '.join(AXES)}")
    return arguments


def choices(arguments: argparse.Namespace) -> list[str]:
    root = [] if arguments.data == "digits" else [f"data.root={Path(arguments.data_root).absolute()}"]
    return [
        f"model={arguments.model}", f"network={arguments.network}", f"data={arguments.data}", *root,
        f"trainer.accelerator={arguments.accelerator}", f"trainer.precision={arguments.precision}",
        "every_n_epochs=1000000", *arguments.overrides,
    ]  # fmt: skip


def trained(arguments: argparse.Namespace, *overrides: str) -> Row:
    """Cost of the project's training step under these overrides, in this process."""
    cfg = composed(*choices(arguments), *overrides)
    datamodule = loops.ready(cfg)
    work = work_of(cfg, facts_of(datamodule), cfg.data.batch_size, arguments.precision)
    machine = measured_machine(loops.device_of(cfg), arguments.precision)
    steps, warm_up = (max(2, number * USUAL_BATCH // cfg.data.batch_size) for number in (arguments.steps, WARM_UP))
    steps, warm_up = min(steps, arguments.steps), min(warm_up, WARM_UP)  # large batches are timed by fewer steps
    reset_peak_memory()
    seconds = seconds_of(loops.project, cfg, datamodule, warm_up, steps) / steps
    peak = peak_memory_bytes()
    return compared(cfg.data.batch_size / seconds, work, machine) | {"peak MiB": peak / 2**20}


def compared(rate: float, work: Work, machine: Machine, network: Network | None = None) -> Row:
    """Measured images a second, and what the model of cost says of them."""
    cost = cost_of(work, machine, network)
    processes = network.processes if network else 1
    predicted = processes * work.images / cost.seconds
    return (
        {"images/s": rate, "predicted": predicted, "measured/predicted": rate / predicted}
        | {"MFLOP/image": work.flops / work.images / 1e6, "MB/image": work.bytes_moved / work.images / 1e6}
        | parts(cost)
        | {"GFLOP/s": machine.flops_per_second / 1e9, "GB/s": machine.bytes_per_second / 1e9}
    )


def parts(cost: Cost) -> Row:
    """What the predicted step goes to, milliseconds."""
    named = {"arithmetic": cost.compute, "memory": cost.memory, "starts": cost.starting, "network": cost.network}
    return {f"{name} ms": 1000 * seconds for name, seconds in named.items()}


def batches(arguments: argparse.Namespace) -> Iterator[Row]:
    for size in (16, 64, 256, 1024):
        yield {"batch": size} | trained(arguments, f"data.batch_size={size}")


def widths(arguments: argparse.Namespace) -> Iterator[Row]:
    for width in (128, 512, 2048) if arguments.network == "mlp" else (16, 32, 64):
        yield {"width": width} | trained(
            arguments, f"network.encoder.width={width}", f"network.decoder.width={width}"
        )  # fmt: skip


def image_sizes(arguments: argparse.Namespace) -> Iterator[Row]:
    if arguments.data != "imagenette":
        raise NotHere("only Imagenette comes in several sizes; add --data imagenette")
    for size in (32, 64, 128):
        yield {"pixels": size} | trained(arguments, f"data.image_size={size}")


def numbers_of_images(arguments: argparse.Namespace) -> Iterator[Row]:
    """Random batches of 64 from 64x64 colour images that are held in memory, or mapped from a file just written."""
    for count in (10_000, 40_000, 160_000):
        row: Row = {"images": count, "GB": count * 3 * 64 * 64 / 1e9}
        with tempfile.TemporaryDirectory() as folder:
            mapped = np.lib.format.open_memmap(Path(folder) / "images.npy", "w+", np.uint8, (count, 3, 64, 64))
            for start in range(0, count, 10_000):
                mapped[start : start + 10_000] = np.random.default_rng(start).integers(
                    0, 256, (10_000, 3, 64, 64), np.uint8
                )
            mapped.flush()
            for where in ("mapped", "memory"):
                images = torch.from_numpy(mapped if where == "mapped" else mapped.copy())
                row[f"{where} images/s"], predicted = loader_rates(images, at_most=20_000)
                row[f"{where} measured/predicted"] = row[f"{where} images/s"] / predicted
                del images
            del mapped
        yield row | {"predicted": predicted}


def loader_rates(images: torch.Tensor, at_most: int) -> tuple[float, float]:
    """Images a second of batches without a model, and what reading and writing them once would allow."""
    dataset = TensorImageDataset(LabelledImages(images, torch.zeros(len(images), dtype=torch.long)))
    with StepCounter() as counter:
        dataset.__getitems__(list(range(64)))
    work = Work(64, counter.kernels, {}, averaged=0, gradients=(), peak_bytes=0)
    predicted = 64 / cost_of(work, measured_machine(torch.device("cpu"), "32-true")).seconds
    sampler = RandomSampler(dataset, num_samples=min(at_most, len(images)))
    loader = DataLoader(dataset, batch_size=64, sampler=sampler, collate_fn=lambda batch: batch)
    start = time.perf_counter()
    count = sum(len(batch) for batch, _ in loader)
    return count / (time.perf_counter() - start), predicted


def processes(arguments: argparse.Namespace) -> Iterator[Row]:
    """Processes of one thread each on this machine, joined as torchrun joins them."""
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command, out = together(arguments, folder, "--standalone", "--nproc-per-node", str(count))
            ended(subprocess.Popen(command, **popen()))
            yield {"processes": count} | of_group(arguments, out)


def hosts(arguments: argparse.Namespace) -> Iterator[Row]:
    """Hosts with a process of one thread each: of this machine's speed, and behind cables of less."""
    if arguments.accelerator not in ("auto", "cpu"):
        raise NotHere("hosts are tried on the CPU; add --accelerator cpu")
    if reason := why_not():
        raise NotHere(reason)
    for count, megabits in ((1, 0), (2, 0), (2, 1000), (2, 200)):
        with tempfile.TemporaryDirectory() as folder, several_hosts(count, f"scaling-{os.getpid()}") as made:
            command, out = together(
                arguments, folder, "--nnodes", str(count), "--nproc-per-node", "1", "--rdzv-backend", "c10d",
                "--rdzv-endpoint", f"{made[0].name}:{HOST_PORT}",
            )  # fmt: skip
            if megabits:
                for host in made:
                    host.limit(megabits)
            for process in [host.start([*command, "trainer.accelerator=cpu"], **popen()) for host in made]:
                ended(process)
            limit = {"limit Mbit/s": megabits} if megabits else {}
            yield {"hosts": count} | limit | of_group(arguments, out, "eth0")


def together(arguments: argparse.Namespace, folder: str, *torchrun: str) -> tuple[list[str], Path]:
    """The command by which processes train together, and the file with what they have measured."""
    out = Path(folder) / "measured.json"
    script = [str(PROJECT / "benchmarks" / "group.py"), "--steps", str(arguments.steps), "--out", str(out)]
    launch = [sys.executable, "-m", "torch.distributed.run", *torchrun]
    return [*launch, *script, *choices(arguments), "trainer=ddp"], out


def popen() -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}


def ended(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"error: processes that train together have failed:\n{said}")


def of_group(arguments: argparse.Namespace, out: Path, interface: str | None = None) -> Row:
    """What processes have measured that trained together, beside the model's prediction."""
    found = json.loads(out.read_text())
    machine, network = Machine(**found["machine"]), Network(**found["network"])
    cfg = composed(*choices(arguments))
    work = work_of(cfg, facts_of(loops.ready(cfg)), cfg.data.batch_size, arguments.precision)
    rate = network.processes * cfg.data.batch_size / found["step_seconds"]
    row = compared(rate, work, machine, network)
    if network.processes > 1:
        steps = work.images / cfg.data.batch_size
        sent = work.bytes_sent(network.processes) / steps
        row |= {"network MB/s": network.bytes_per_second / 1e6, "latency ms": 1000 * network.latency}
        row["MB a step by the model"] = sent / 1e6
        if interface:
            row["MB a step sent"] = found["step_sent"][interface] / 1e6
    return row


AXES = {
    "batch": batches,
    "width": widths,
    "pixels": image_sizes,
    "images": numbers_of_images,
    "processes": processes,
    "hosts": hosts,
}


if __name__ == "__main__":
    main()

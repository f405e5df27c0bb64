"""Images per second of training: this project, a bare PyTorch loop, a notebook's loop, and the arithmetic's limit.

Each loop runs in a process of its own; they take turns, of some steps each, so that what slows the machine slows all.

python benchmarks/throughput.py             # every cell of {vae, gan} × {mlp, conv} × {mnist, imagenette}
python benchmarks/throughput.py vae mlp mnist --peers pythae --variants compiled_step fused_backward
python benchmarks/throughput.py gan mnist --precision bf16-mixed --overrides data.batch_size=512
"""

import argparse
import itertools
import json
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from benchmarks import loops, peers, variants
from benchmarks.apart import LostLoop, Timed, median_ratio, middle_half, timed_in_turns
from benchmarks.cost import StepCounter
from benchmarks.timing import wait_for
from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_unit_range
from jobs.building import build_model
from jobs.composition import composed
from lightning_modules.values import Batch

MODELS, NETWORKS, DATA = ("vae", "gan"), ("mlp", "conv"), ("mnist", "imagenette")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was begun is ended
    try:
        measure_all(parse())
    except LostLoop as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def measure_all(arguments: argparse.Namespace) -> None:
    peers.check_installed(arguments.peers)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    table = []
    for data in DATA:
        cells = [cell for cell in itertools.product(MODELS, NETWORKS, [data]) if matches(cell, arguments.filters)]
        for cell in cells:
            table.append(measure(cell, arguments))
            show(table[-1], with_header=len(table) == 1)
    if arguments.json:
        machine = {"processor": platform.processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
        arguments.json.write_text(json.dumps({"machine": machine, "cells": table}, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("filters", nargs="*", help="only cells that have all these words: vae gan mlp conv mnist …")
    parser.add_argument("--images", type=count, default=4000, help="images that each loop is timed on")
    parser.add_argument("--turns", type=count, default=20, help="in which it trains on them; the table has medians")
    parser.add_argument("--warm-up", type=count, default=20, help="steps before, which don't count")
    parser.add_argument("--precision", default="32-true", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--threads", type=count, help="of PyTorch on the CPU; default: one for each core")
    parser.add_argument("--data-root", default="data", help="the folder with MNIST/raw and imagenette2-160")
    parser.add_argument("--overrides", nargs="*", default=[], help="further choices, as train.py takes them")
    parser.add_argument("--peers", nargs="+", default=[], choices=peers.PEERS, help="other projects' trainers too")
    parser.add_argument("--variants", nargs="+", default=[], choices=variants.VARIANTS, help="of the bare loop, too")
    parser.add_argument("--json", type=Path, help="write every turn's seconds to this file too")
    return parser.parse_args()


def count(typed: str) -> int:
    """A number of at least 1."""
    if (number := int(typed)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def matches(cell: tuple[str, ...], filters: list[str]) -> bool:
    """Whether the filters leave a cell in: of each kind one of the words given, if any of that kind is."""
    kinds = (MODELS, NETWORKS, DATA)
    wanted = [[word for word in filters if word in kind] or list(kind) for kind in kinds]
    unknown = [word for word in filters if not any(word in kind for kind in kinds)]
    if unknown:
        raise SystemExit(f"there is no cell {' '.join(unknown)}; choose from {' '.join(itertools.chain(*kinds))}")
    return all(name in names for name, names in zip(cell, wanted, strict=True))


def measure(cell: tuple[str, str, str], arguments: argparse.Namespace) -> dict[str, Any]:
    """What is told of one cell: images a second (medians, and the lowest and highest), and what they cost."""
    model, network, data = cell
    cfg = composed(
        f"model={model}", f"network={network}", f"data={data}", f"data.root={arguments.data_root}",
        f"trainer.precision={arguments.precision}", f"trainer.accelerator={arguments.accelerator}",
        "every_n_epochs=1000000", *arguments.overrides,
    )  # fmt: skip
    datamodule = loops.ready(cfg)
    batch_size = min(cfg.data.batch_size, len(datamodule.split("train").images))
    steps = max(1, arguments.images // (batch_size * arguments.turns))
    chosen = {name: getattr(loops, name) for name in loops.LOOPS}
    chosen |= {name: getattr(peers, name) for name in arguments.peers}
    chosen |= {name: getattr(variants, name) for name in arguments.variants}
    timed = timed_in_turns(chosen, cfg, arguments.warm_up, steps, arguments.turns, arguments.threads)
    flops = flops_per_image(cfg, datamodule)
    rate = matrix_product_rate(loops.device_of(cfg), arguments.precision)
    return {
        "cell": " ".join(cell),
        "batch_size": batch_size,
        "precision": arguments.precision,
        "images_per_second": {name: speeds(batch_size * steps, each) for name, each in timed.items()},
        "of_bare": median_ratio(timed["bare"], timed["project"]),
        "of_bare_middle_half": middle_half(timed["bare"], timed["project"]),
        "of_notebook": median_ratio(timed["notebook"], timed["project"]),
        "of_peers": {name: median_ratio(timed[name], timed["project"]) for name in arguments.peers if name in timed},
        "variants_of_bare": {
            name: median_ratio(timed["bare"], timed[name]) for name in arguments.variants if name in timed
        },
        "loader_images_per_second": loader_rate(datamodule),
        "flops_per_image": flops,
        "matrix_product_flops_per_second": rate,
        "limit_images_per_second": rate / flops,
        "peak_memory_bytes": {name: each.peak_memory for name, each in timed.items()},
        "seconds": {name: each.seconds for name, each in timed.items()},
    }


def speeds(images: int, timed: Timed) -> dict[str, float]:
    """Of turns of so many images."""
    return {
        "median": images / statistics.median(timed.seconds),
        "lowest": images / max(timed.seconds),
        "highest": images / min(timed.seconds),
    }


def flops_per_image(cfg: DictConfig, datamodule: ImageDataModule) -> float:
    """Multiplications and additions of one training step of the bare loop, a batch's share for each image."""
    model = build_model(cfg.model, datamodule).train()
    count = min(cfg.data.batch_size, len(datamodule.split("train").images))
    images, labels = datamodule.split("train")
    batch = Batch(to_unit_range(images[:count]), labels[:count])
    step = loops.bare_step(model, "32-true")
    with StepCounter() as counter:
        step(batch)
    return counter.flops / count


def matrix_product_rate(
    device: torch.device,
    precision: str,
    size: int = 2048,
    repeats: int = 7,
    of_repeats: Callable[[list[float]], float] = min,
) -> float:
    """Floating point operations a second of a square matrix product, by the best of several times it took."""
    kind = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    factor = torch.randn(size, size, device=device, dtype=kind)
    taken = []
    for _ in range(repeats):
        wait_for(device)
        start = time.perf_counter()
        factor @ factor
        wait_for(device)
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / of_repeats(taken)


def loader_rate(datamodule: ImageDataModule) -> float:
    """Images a second of one epoch of batches without a model, float32 in [0, 1] at the end."""
    start = time.perf_counter()
    count = sum(len(to_unit_range(images)) for images, _ in datamodule.train_dataloader())
    return count / (time.perf_counter() - start)


def show(row: dict[str, Any], with_header: bool) -> None:
    if with_header:
        print(f"{'images a second':<20}{'project':>24}{'bare':>24}{'notebook':>24}{'of bare':>18}{'of nb':>7}"
              f"{'limit':>8}{'of it':>7}{'loader':>11}{'MiB':>7}")  # fmt: skip
    speeds = {name: row["images_per_second"][name] for name in loops.LOOPS}
    cells = [f"{s['median']:,.0f} ({s['lowest']:,.0f}–{s['highest']:,.0f})" for s in speeds.values()]
    of_bare = "{:.2f} ({:.2f}–{:.2f})".format(row["of_bare"], *row["of_bare_middle_half"])
    print(
        f"{row['cell']:<20}" + "".join(f"{cell:>24}" for cell in cells)
        + f"{of_bare:>18}{row['of_notebook']:>7.2f}{row['limit_images_per_second']:>8,.0f}"
        f"{speeds['project']['median'] / row['limit_images_per_second']:>7.2f}"
        f"{row['loader_images_per_second']:>11,.0f}{row['peak_memory_bytes']['project'] / 2**20:>7,.0f}",
        flush=True,
    )  # fmt: skip
    for word, ratios in (("the project is {:.2f} of it", row["of_peers"]), ("{:.2f} of bare", row["variants_of_bare"])):
        for name, ratio in ratios.items():
            speed = row["images_per_second"][name]
            print(f"    {name}: {speed['median']:,.0f} ({speed['lowest']:,.0f}–{speed['highest']:,.0f}), "
                  + word.format(ratio), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

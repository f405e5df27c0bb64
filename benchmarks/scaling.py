"""How cost grows along one axis at a time: batch, width, image size, number of images, processes.

python benchmarks/scaling.py --data-root data            # every axis, the GAN on Imagenette unless --model says other
python benchmarks/scaling.py batch width --network mlp --data mnist
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from benchmarks import loops
from benchmarks.throughput import WARM_UP, flops_per_image, ready
from callbacks.run_recorder import peak_memory_bytes, reset_peak_memory
from datamodules.image_datamodule import LabelledImages, TensorImageDataset
from jobs.composition import composed
from run_folder.layout import METRICS
from run_folder.records import RunRecord, read_record

PROJECT = Path(__file__).parents[1]


def main() -> None:
    arguments = parse()
    rows: dict[str, list[dict[str, float]]] = {}
    for axis in arguments.axes or AXES:
        print(f"\n{axis}")
        rows[axis] = []
        for row in AXES[axis](arguments):
            rows[axis].append(row)
            print("  " + "   ".join(f"{name} {value:,.4g}" for name, value in row.items()), flush=True)
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
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    arguments = parser.parse_args()
    if unknown := [axis for axis in arguments.axes if axis not in AXES]:  # argparse's choices refuse an empty list
        parser.error(f"there is no axis {unknown[0]}; choose from {', '.join(AXES)}")
    return arguments


def choices(arguments: argparse.Namespace) -> list[str]:
    root = [] if arguments.data == "digits" else [f"data.root={arguments.data_root}"]
    return [
        f"model={arguments.model}", f"network={arguments.network}", f"data={arguments.data}", *root,
        f"trainer.accelerator={arguments.accelerator}",
    ]  # fmt: skip


def trained(arguments: argparse.Namespace, *overrides: str) -> dict[str, float]:
    """Cost of the project's training step under these overrides."""
    cfg = composed(*choices(arguments), "every_n_epochs=1000000", *overrides)
    datamodule = ready(cfg)
    reset_peak_memory()
    images = cfg.data.batch_size * arguments.steps
    rate = images / loops.project(cfg, datamodule, WARM_UP, arguments.steps)
    peak = peak_memory_bytes()
    flops = flops_per_image(cfg, datamodule)
    return {"images/s": rate, "MFLOP/image": flops / 1e6, "GFLOP/s": rate * flops / 1e9, "peak MiB": peak / 2**20}


def batches(arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    for size in (16, 64, 256, 1024):
        yield {"batch": size} | trained(arguments, f"data.batch_size={size}")


def widths(arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    for width in (128, 512, 2048) if arguments.network == "mlp" else (16, 32, 64):
        yield {"width": width} | trained(
            arguments, f"network.encoder.width={width}", f"network.decoder.width={width}"
        )  # fmt: skip


def image_sizes(arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    if arguments.data != "imagenette":
        raise SystemExit("size: only Imagenette comes in several sizes; add --data imagenette")
    for size in (32, 64, 128):
        yield {"pixels": size} | trained(arguments, f"data.image_size={size}")


def numbers_of_images(arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Random batches of 64 from 64x64 colour images that are held in memory, or mapped from a file just written."""
    for count in (10_000, 40_000, 160_000):
        rates = {}
        with tempfile.TemporaryDirectory() as folder:
            mapped = np.lib.format.open_memmap(Path(folder) / "images.npy", "w+", np.uint8, (count, 3, 64, 64))
            for start in range(0, count, 10_000):
                mapped[start : start + 10_000] = np.random.default_rng(start).integers(
                    0, 256, (10_000, 3, 64, 64), np.uint8
                )
            mapped.flush()
            for where in ("mapped", "memory"):
                images = torch.from_numpy(mapped if where == "mapped" else mapped.copy())
                rates[f"{where} images/s"] = loader_rate(images, at_most=20_000)
                del images
            del mapped
        yield {"images": count, "GB": count * 3 * 64 * 64 / 1e9} | rates


def loader_rate(images: torch.Tensor, at_most: int) -> float:
    dataset = TensorImageDataset(LabelledImages(images, torch.zeros(len(images), dtype=torch.long)))
    sampler = RandomSampler(dataset, num_samples=min(at_most, len(images)))
    loader = DataLoader(dataset, batch_size=64, sampler=sampler, collate_fn=lambda batch: batch)
    start = time.perf_counter()
    count = sum(len(batch) for batch, _ in loader)
    return count / (time.perf_counter() - start)


def processes(arguments: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Whole runs of one epoch, without scores and pictures, on one thread for each process."""
    quiet = [f"callbacks.{name}=null" for name in ("sample_grid", "interpolation", "reconstruction_grid", "likelihood")]
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable, str(PROJECT / "train.py"), *choices(arguments), "scores=none", *quiet,
                "trainer.max_epochs=1", "trainer=ddp", f"trainer.devices={count}", f"hydra.run.dir={folder}",
            ]  # fmt: skip
            if count == 1:
                command.append("trainer.strategy=auto")
            subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            record = read_record(Path(folder) / METRICS, RunRecord)
            assert record.images_seen and record.seconds  # both are written
            yield {"processes": count, "images/s": record.images_seen / record.seconds}


AXES = {
    "batch": batches,
    "width": widths,
    "size": image_sizes,
    "images": numbers_of_images,
    "processes": processes,
}


if __name__ == "__main__":
    main()

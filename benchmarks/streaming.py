"""Images that are streamed from shards, against those mapped from one file and those in memory: speed and memory.

python benchmarks/streaming.py /tmp/bench --images 200000
python benchmarks/streaming.py /tmp/bench --images 2000000 --seconds 20    # 49 GB, removed at the end

Each loader runs in a process of its own, in turns: batches of uint8 images and labels, without a model. Memory is the
process's own, with its workers', at most; pages of mapped files, which the system takes back, are not in it.
Images of a CPU second, of all these processes, say what a loader costs where others use the machine meanwhile.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from datamodules.image_datamodule import LabelledImages, TensorImageDataset
from datamodules.pixels import to_unit_range
from datamodules.shard_writing import write_shards
from datamodules.sources import Source
from datamodules.stream import Stream

SHARDS, MAPPED, PARTIAL, FACTS = "shards", "mapped.npy", "mapped.npy.partial", "benchmark.json"  # what its folder has
HELD_OUT = 1000  # images of val, and as many of test
POOL = 2**24  # random bytes, of which every image is a piece: as good as noise for what is measured


class Noise(Source):
    """Images of noise, as many as are asked for."""

    title = "noise"
    class_names = tuple("0123456789")
    fingerprint = "noise"

    def __init__(self, count: int, image_size: int) -> None:
        self._shape = (3, image_size, image_size)
        self._pool = torch.from_numpy(np.random.default_rng(0).integers(0, 256, POOL, dtype=np.uint8))
        self.count = count

    @property
    def origins(self) -> dict[str, str]:
        return {}

    @property
    def splits(self) -> dict[str, list[str]]:
        held = [f"{split}/{number}" for split in ("val", "test") for number in range(HELD_OUT)]
        return {"train": [f"train/{number}" for number in range(self.count)],
                "val": held[:HELD_OUT], "test": held[HELD_OUT:]}  # fmt: skip

    def block(self) -> np.ndarray:
        """As many images as the pool has, uint8 (N, C, H, W)."""
        size = int(np.prod(self._shape))
        count = POOL // size
        return self._pool[: count * size].numpy().reshape(count, *self._shape)

    def read(self, key: str) -> tuple[Tensor, int]:
        number = int(key.rpartition("/")[2])
        size = int(np.prod(self._shape))
        start = number * 7919 % (POOL - size)
        return self._pool[start : start + size].view(self._shape), number % 10


def main() -> None:
    arguments = parse()
    if arguments.only:
        print(json.dumps(measured(arguments)))
        return
    check_folder(arguments)
    write(arguments)
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.repeats):
        for name in names(arguments):
            command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
            ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if ended.returncode:
                sys.exit(ended.returncode)
            rows.setdefault(name, []).append(json.loads(ended.stdout.splitlines()[-1]))
            print(name, rows[name][-1], flush=True)
    show(rows)
    if not arguments.keep:
        remove(arguments.folder)


def check_folder(arguments: argparse.Namespace) -> None:
    """End the program unless its folder is new, empty, or of an earlier run on the same images."""
    folder = arguments.folder
    facts = json.dumps({"images": arguments.images, "image_size": arguments.image_size})
    if folder.exists() and not folder.is_dir():
        raise SystemExit(f"error: {folder} is no folder")
    if not folder.exists() or not any(folder.iterdir()):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FACTS).write_text(facts)
    others = sorted(path.name for path in folder.iterdir() if path.name not in (SHARDS, MAPPED, PARTIAL, FACTS))
    if others or not (folder / FACTS).is_file():
        named = f", such as {others[0]}" if others else ""
        raise SystemExit(f"error: {folder} has files of another kind{named}: name a new folder, for it is removed")
    found = (folder / FACTS).read_text()
    if found != facts:
        raise SystemExit(f"error: {folder} was made with {found}, and {facts} are asked for: name a new folder")


def remove(folder: Path) -> None:
    """What a run has made, and the folder if that was all."""
    shutil.rmtree(folder / SHARDS)
    for name in (MAPPED, FACTS):
        (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder for shards and the mapped file")
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--in-memory", type=int, default=200_000, help="images of the loader that has them in memory")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="of the streaming loader")
    parser.add_argument("--seconds", type=float, default=10, help="of each loader's epoch that are timed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    parser.add_argument("--only", help="one loader, in this process")
    return parser.parse_args()


def names(arguments: argparse.Namespace) -> list[str]:
    return ["memory", "mapped", *(f"stream {workers}" for workers in arguments.workers)]


def write(arguments: argparse.Namespace) -> None:
    """Shards and a mapped file of the same images, unless they are there."""
    source = Noise(arguments.images, arguments.image_size)
    shards, mapped = arguments.folder / SHARDS, arguments.folder / MAPPED
    shape = (3, arguments.image_size, arguments.image_size)
    if not (shards / "images.json").exists():
        shards.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        write_shards(source, shards, shape, 32, {})
        print(f"{arguments.images / (time.perf_counter() - start):,.0f} images a second written as shards", flush=True)
    if not mapped.exists():
        partial = arguments.folder / PARTIAL  # has its full size at once, as zeros
        array = open_memmap(partial, mode="w+", dtype=np.uint8, shape=(arguments.images, *shape))
        block = source.block()
        for start in range(0, arguments.images, len(block)):
            array[start : start + len(block)] = block[: arguments.images - start]
        array.flush()
        partial.rename(mapped)


def measured(arguments: argparse.Namespace) -> dict[str, float]:
    """Images a second and MB of memory of one loader."""
    torch.set_num_threads(1)
    peak, ended = [0.0], threading.Event()
    watcher = threading.Thread(target=watch, args=(peak, ended), daemon=True)
    watcher.start()
    found = timed(loader_of(arguments), arguments.seconds)
    ended.set()
    watcher.join()
    return {**found, "megabytes": round(peak[0])}


def loader_of(arguments: argparse.Namespace) -> Iterable[Any]:
    kind, _, workers = arguments.only.partition(" ")
    if kind == "stream":
        stream = Stream(str(arguments.folder / SHARDS), batch_size=arguments.batch_size, seed=0, split_seed=0,
                        device="cpu", horizontal_flip=False, binarize=False, num_drawn=1000, num_workers=int(workers),
                        cache_gb=1)  # fmt: skip
        return stream.train_dataloader()
    array = np.load(arguments.folder / MAPPED, mmap_mode="r")
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    images = torch.from_numpy(array[: arguments.in_memory].copy() if kind == "memory" else array)
    data = TensorImageDataset(LabelledImages(images, torch.arange(len(images)) % 10))
    sampler: DistributedSampler = DistributedSampler(data, 1, 0, shuffle=True, seed=0)
    return DataLoader(data, arguments.batch_size, sampler=sampler, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch


def timed(loader: Iterable[Any], seconds: float) -> dict[str, float]:
    batches: Iterator[Any] = iter(loader)
    next(batches)  # workers have started
    count, start, cpu = 0, time.perf_counter(), cpu_seconds()
    for images, _ in batches:
        to_unit_range(images)
        count += len(images)
        if time.perf_counter() - start > seconds:
            break
    taken, cpu_taken = time.perf_counter() - start, cpu_seconds() - cpu
    if cpu_taken <= 0:
        raise SystemExit(f"error: {count} images are too few to time: --images")
    return {"images_per_second": count / taken, "images_per_cpu_second": count / cpu_taken}


def watch(peak: list[float], ended: threading.Event) -> None:
    """Keep the largest sum of private memory of this process and its children, MB."""
    while not ended.wait(0.2):
        peak[0] = max(peak[0], sum(map(private_megabytes, family())))


def family() -> list[str]:
    own = Path("/proc/self/task")
    children = [child for task in own.iterdir() for child in _text(task / "children").split()]
    return ["self", *children]


def private_megabytes(process: str) -> float:
    """What is not of files; of what several processes share, each one's part."""
    lines = [line.split() for line in _text(Path(f"/proc/{process}/smaps_rollup")).splitlines()]
    return sum(int(line[1]) for line in lines if line[0] in ("Pss_Anon:", "Pss_Shmem:")) / 1024


def cpu_seconds() -> float:
    """Of this process and its children, so far."""
    stats = [_text(Path(f"/proc/{process}/stat")).rpartition(")")[2].split() for process in family()]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats if stat) / os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


def show(rows: dict[str, list[dict[str, float]]]) -> None:
    median: Callable[[str, str], float] = lambda name, key: statistics.median(row[key] for row in rows[name])  # noqa: E731
    print(f"\n| {'loader':<10} | images a second | of a CPU second | of the mapped file's | memory, MB |")
    print("|---|---|---|---|---|")
    for name in rows:
        speed = median(name, "images_per_second")
        of_mapped = speed / median("mapped", "images_per_second")
        cells = [median(name, "images_per_cpu_second"), median(name, "megabytes")]
        print(f"| {name:<10} | {speed:,.0f} | {cells[0]:,.0f} | {of_mapped:.2f} | {cells[1]:,.0f} |")


if __name__ == "__main__":
    main()

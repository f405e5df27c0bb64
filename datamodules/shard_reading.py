"""Reading shards with litdata: every image once an epoch, in an order of the seed and the epoch alone."""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from litdata import StreamingDataset
from litdata.exceptions import ChunkWaitTimeoutError
from litdata.streaming import Cache
from litdata.streaming.downloader import Downloader, register_downloader
from litdata.streaming.item_loader import Interval
from litdata.streaming.reader import PrepareChunksThread
from litdata.streaming.resolver import Dir
from litdata.streaming.shuffle import FullShuffle, NoShuffle, Shuffle
from litdata.utilities.env import _DistributedEnv
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from foundation.errors import UserError

from .buckets import Bucket, FetchError, UnreachableError
from .shards import AGAIN, LITDATA_INDEX, Split, content_fault, from_records

FETCHED = "fetched:"  # the URL that litdata is given, so that it asks CheckedDownloader for what is there
PATIENCE, PAUSE = 60.0, 2.0  # seconds: how long a server is asked again for a shard, and how often
STALLED = 300  # seconds that a batch may take, which is longer than any server is waited for
# One after another, in the order in which they are read: many at once are each slow, and the first one is waited for.
os.environ.setdefault("LITDATA_ASYNC_CHUNK_PREFETCH", "0")
PrepareChunksThread._report_crash = lambda self, error: None  # a traceback: the error itself is raised where it is read
logging.getLogger("litdata").setLevel(logging.ERROR)  # it tells how it reads, and that a small cache is small


class EvenShuffle(FullShuffle):
    """litdata's shuffle of shards and of the images within each, shared out so that no image is twice or lost.

    litdata's own way either drops images, so that all processes have as many batches, or leaves them with unequal
    numbers of batches, for which DDP waits forever; and on network file systems it shuffles otherwise.
    """

    def get_chunks_and_intervals_per_workers(
        self, distributed_env: _DistributedEnv, num_workers: int, batch_size: int, current_epoch: int
    ) -> tuple[list[list[int]], list[list[Interval]]]:
        intervals = self.cache.get_chunk_intervals()
        order = np.random.RandomState([self.seed, current_epoch]).permutation(len(intervals))
        total = sum(interval[2] - interval[1] for interval in intervals)
        sizes = batch_sizes(total, batch_size, distributed_env.world_size, num_workers)
        return cut([(int(index), intervals[index]) for index in order], [sum(of_worker) for of_worker in sizes])


@dataclass(frozen=True)
class Fetched:
    """Shards of a split that are fetched from a bucket, and where to.

    They come into the folder `cache`, which has litdata's index, and stay there. Where there is too little room for
    all, each worker has a folder of its own in there, from which shards go once they are read: at most about `room`
    bytes lie in each. What litdata offers for workers that share one counts in files who still needs what, and goes
    wrong after the first that is killed, or that ends early.
    """

    bucket: Bucket
    name: str
    split: Split
    cache: Path
    room: int | None
    token: str  # of this process and its workers, that no other has: their folders begin with it


class CheckedDownloader(Downloader):
    """Fetches shards for litdata, and hands over those alone that are, byte for byte, what the index lists."""

    def __init__(self, remote_dir: str, cache_dir: str, chunks: list, storage_options: dict, **_: Any) -> None:
        super().__init__(remote_dir, cache_dir, chunks, storage_options)
        self._source: Fetched = storage_options["source"]

    def download_file(self, remote_filepath: str, local_filepath: str) -> None:
        """Raises FetchError and DiskFullError."""
        path, lock = Path(local_filepath), Path(f"{local_filepath}.lock")
        if path.exists():
            return
        with FileLock(lock):  # of several processes that need it one fetches it
            if path.exists():
                return
            fetched = Path(self._temp_download_path(local_filepath))
            try:
                self._fetch(path.name, fetched)
                fetched.replace(path)
            finally:
                fetched.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)  # who waits for it finds the shard

    def _fetch(self, name: str, path: Path) -> None:
        bucket, of_split = self._source.bucket, self._source.split
        (shard,) = (shard for shard in of_split.shards if shard.name == name)
        begun = time.monotonic()
        while True:
            try:
                bucket.fetch(f"{self._source.name}/{name}", path)
                break
            except UnreachableError:
                if time.monotonic() - begun > PATIENCE:
                    raise
                time.sleep(PAUSE)
        if fault := content_fault(path, shard):
            raise FetchError(f"{bucket.root}/{self._source.name}/{name} is damaged: {fault}. {AGAIN}")


register_downloader(FETCHED, CheckedDownloader)


class ShardStream(StreamingDataset):
    """The records of one split's shards: those of one process among several, and of one loader's worker in it."""

    def __init__(
        self, source: str | Fetched, shuffle: bool, seed: int, batch_size: int, rank: int, world_size: int
    ) -> None:
        """`source`: the folder of a split, or where its shards are fetched from and to."""
        fetched = source if isinstance(source, Fetched) else None
        super().__init__(
            Dir(str(fetched.cache), FETCHED) if fetched else source,
            # litdata counts what it keeps, and now and then something twice
            max_cache_size=(fetched.room or 4 * fetched.split.bytes) if fetched else None,
            shuffle=shuffle,
            drop_last=False,
            seed=seed,
            storage_options={"source": fetched} if fetched else None,  # what CheckedDownloader is given
            item_shuffle_window=0,  # all images of a shard change places
            batch_decode=0,  # in the shuffled order neighbours in the file are not read together
        )
        self._fetched = fetched
        if fetched:
            self.posix_fast = None  # litdata takes what it does not know for a folder of this machine
        self.set_batch_size(batch_size)
        # What litdata finds out by itself depends on environment variables, and on when it is asked.
        self.distributed_env = _DistributedEnv(world_size, rank, num_nodes=1)

    def __iter__(self) -> "ShardStream":
        if self._fetched and self._fetched.room:
            worker = get_worker_info()
            own = f"{self._fetched.token}-{worker.id if worker else 0}-"
            for earlier in self._fetched.cache.glob(f"{own}*"):
                shutil.rmtree(earlier, ignore_errors=True)  # a thread of an abandoned epoch may still write there
            folder = Path(mkdtemp(prefix=own, dir=self._fetched.cache))
            shutil.copyfile(self._fetched.cache / LITDATA_INDEX, folder / LITDATA_INDEX)
            self.input_dir = Dir(str(folder), FETCHED)
        super().__iter__()
        return self

    def __next__(self) -> Any:
        """Raises FetchError and DiskFullError, of which litdata makes other errors."""
        try:
            return super().__next__()
        except ChunkWaitTimeoutError as error:
            name = Path(error.path).name
            where = f"{self._fetched.bucket.root}/{self._fetched.name}/{name}" if self._fetched else error.path
            raise FetchError(
                f"{where} was waited for {error.waited_s:.0f} seconds, in vain. On a slow line smaller shards come "
                "sooner (prepare.py shard_mb=), and so does each for fewer readers (data.num_workers=)"
            ) from error
        except RuntimeError as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            raise

    def _create_shuffler(self, cache: Cache) -> Shuffle:
        return (
            EvenShuffle(cache, self.seed, False, item_window=0) if self.shuffle else NoShuffle(cache, self.seed, False)
        )


class ShardBatches(IterableDataset):
    """One process's batches of an epoch, uint8 (B, C, H, W) and labels (B,), as many in every process."""

    def __init__(self, stream: ShardStream, image_shape: Sequence[int], total: int) -> None:
        super().__init__()
        self.stream, self.image_shape, self.total = stream, image_shape, total
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor] | UserError]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        env = self.stream.distributed_env
        sizes = batch_sizes(self.total, self.stream.batch_size, env.world_size, workers)
        self.stream.set_epoch(self.epoch + 1)  # litdata counts from 1
        records = iter(self.stream)
        try:
            for size in sizes[env.global_rank * workers + number]:
                # Not islice: it asks for an iterator again, and with that the epoch begins anew.
                yield from_records([next(records) for _ in range(size)], self.image_shape)
        except UserError as error:
            if worker is None:
                raise
            yield error  # raised in a worker, it would arrive with its traceback for a message


class EpochLoader(DataLoader):
    """A loader whose batches are those of the epoch that a Trainer is in; without one, of each epoch in turn.

    The epoch is asked for when the loader's workers are started: a sampler's `set_epoch` would come too late for
    those of the first epoch after a resume.
    """

    dataset: ShardBatches

    def __init__(self, batches: ShardBatches, num_workers: int, trainer: Any) -> None:
        super().__init__(
            batches,
            batch_size=None,
            num_workers=num_workers,
            # A worker that is forked at a wrong moment hangs before it begins (Python 3.11, beside threads of DDP's).
            timeout=STALLED if num_workers else 0,
            generator=torch.Generator(),  # of its own, so that making a loader draws from no other
        )
        self.trainer, self._begun = trainer, 0
        world_size = batches.stream.distributed_env.world_size
        # Of the first process's batches: others may have one image less in their last ones.
        self.sizes = batch_sizes(batches.total, batches.stream.batch_size, world_size, 1)[0]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Any:
        fit_loop = getattr(self.trainer, "fit_loop", None)
        self.dataset.epoch = self._begun if fit_loop is None else fit_loop.epoch_progress.current.processed
        self._begun += 1
        return _raised(super().__iter__(), self.num_workers)


def _raised(batches: Iterator[Any], num_workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a loader's workers, until one of them has sent an error, or none has sent anything for long."""
    try:
        for batch in batches:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "timed out" not in str(error):
            raise
        raise FetchError(f"data.num_workers={num_workers}: no batch has come for {STALLED} seconds") from error


def batch_sizes(total: int, batch_size: int, world_size: int, num_workers: int) -> list[list[int]]:
    """Of each worker of each process: how many images are in each of its batches.

    Every process has as many batches, and as many images but for one. A worker's batches are every `num_workers`-th
    of its process's, as a loader takes them in turn.
    """
    found = []
    most = -(-total // world_size)  # images of a process
    batches = max(1, -(-most // batch_size))
    for rank in range(world_size):
        images = total // world_size + (rank < total % world_size)
        sizes = [batch_size] * (batches - 1)
        last = images - sum(sizes)
        if last == 0 and batches > 1 and batch_size > 1:  # another process has one image more, in a batch of its own
            sizes[-1], last = batch_size - 1, 1
        sizes += [last] if last else []
        found += [sizes[worker::num_workers] for worker in range(num_workers)]
    return found


def cut(chunks: Sequence[tuple[int, Interval]], shares: Sequence[int]) -> tuple[list[list[int]], list[list[Interval]]]:
    """Shards behind one another, cut into stretches of so many images: of each the shards, and which part of each."""
    numbers: list[list[int]] = [[] for _ in shares]
    intervals: list[list[Interval]] = [[] for _ in shares]
    worker, left = 0, shares[0]
    for number, (start, begin, end, stop) in chunks:
        while begin < end:
            while left == 0:
                worker, left = worker + 1, shares[worker + 1]
            taken = min(left, end - begin)
            numbers[worker].append(number)
            intervals[worker].append(Interval(start, begin, begin + taken, stop))
            begin, left = begin + taken, left - taken
    return numbers, intervals

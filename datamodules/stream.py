"""Images of any number, streamed from shards that prepare.py has written, in a folder or behind a URL."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor
from torch.utils.data import DataLoader

from foundation.atomic import DiskFullError, write_atomically
from foundation.errors import ConfigError
from foundation.extras import require
from foundation.progress import task
from foundation.ranges import Images, Seed, Size

from .buckets import Bucket, FetchError
from .decoding import for_each
from .disk_cache import load_bytes, store_bytes
from .image_datamodule import ImageDataModule, LabelledImages, SplitHash
from .places import is_remote
from .shard_cache import ShardCache
from .shards import (
    AGAIN,
    LABEL_BYTES,
    ShardIndex,
    check_bucket,
    check_content,
    check_sizes,
    fetch_litdata_index,
    from_records,
    read_index,
)

if TYPE_CHECKING:
    from .shard_reading import ShardStream

AT_ONCE = 1000  # records
AHEAD = 4  # shards that one who reads has at least: the one that is read, those that are fetched, and one that goes
HELD = ("train", "val", "test")  # in this order in the file of what is held


class Stream(ImageDataModule):
    """Shards of images, of which training reads every one in each epoch and memory holds a few at a time.

    `root` is a folder that prepare.py has written, or the URL of a bucket with such a folder: s3://…, gs://….
    Of a URL at most about `cache_gb` of shards are on this machine's disk at a time. `num_workers` processes read
    ahead, in turn: with another number of them an epoch has another order.

    What has to be at hand at once is held in a file in the user's cache folder, and mapped to memory: val, test, and
    `num_drawn` of the training images. Those serve wherever a model is compared with, or fitted to, training images:
    as nearest neighbours, for the floor of scores, for densities and pseudo-inputs.
    """

    def __init__(
        self,
        root: str,
        batch_size: Size,
        seed: Seed,
        split_seed: Seed,
        device: Literal["auto", "cpu"],
        horizontal_flip: bool,
        binarize: bool,
        num_drawn: Images,
        num_workers: Annotated[int, Interval(ge=0, le=256)],
        cache_gb: Annotated[float, Interval(gt=0, le=1e6)],
    ) -> None:
        super().__init__(batch_size, seed, split_seed, device, horizontal_flip, binarize)
        self.root = root if is_remote(root) else str(Path(root).expanduser().absolute())
        self.num_drawn, self.num_workers, self.cache_gb = num_drawn, num_workers, cache_gb

    @cached_property
    def index(self) -> ShardIndex:
        """Raises DataError, and ConfigError where litdata is not installed."""
        require("data=stream", "stream", "litdata")
        return read_index(self.root if self._bucket is None else self._bucket)

    @cached_property
    def _bucket(self) -> Bucket | None:
        """None: the shards are in a folder. Raises ConfigError where such a URL can't be read at all."""
        return Bucket(self.root) if is_remote(self.root) else None

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:  # type: ignore[override]
        channels, height, width = self.index.image_shape
        return channels, height, width

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.index.class_names)

    @property
    def num_val(self) -> int:
        return self.index.splits["val"].images

    @property
    def num_test(self) -> int:
        return self.index.splits["test"].images

    def num_images(self, split: str) -> int:
        return self.index.splits[split].images

    @property
    def source(self) -> str:
        return self.root

    @property
    def origins(self) -> dict[str, str]:
        return {name: split.origin for name, split in self.index.splits.items() if split.origin}

    @property
    def passed_over(self) -> str:
        held = len(self.split("train").images)
        return f"{held:,} of train are held for neighbours and densities" if held < self.num_images("train") else ""

    @property
    def split_hashes(self) -> dict[str, SplitHash]:
        return {name: SplitHash(split.images, split.sha256) for name, split in self.index.splits.items()}

    def prepare_data(self) -> None:
        """Check every shard, once, and hold what has to be held. Raises DataError."""
        self._check()
        self._held()

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        images, labels = self._held()
        num_trainval = len(images) - self.num_test
        return (
            LabelledImages(images[:num_trainval], labels[:num_trainval]),
            LabelledImages(images[num_trainval:], labels[num_trainval:]),
        )

    def val_and_train_indices(self, total: int) -> tuple[slice, slice]:
        """In the order of `read`: train comes first."""
        return slice(total - self.num_val, total), slice(total - self.num_val)

    def train_dataloader(self) -> DataLoader:
        from .shard_reading import EpochLoader, ShardBatches

        rank, world_size = self._rank_and_world_size
        total = self.num_images("train")
        if self.batch_size == 1 and total % world_size:
            raise ConfigError(f"data.batch_size: with 1, {world_size} processes can't share {total:,} images; give 2")
        cache = self._train_cache
        room = None if cache is None or cache.fits else self._room_of_worker()
        folder = cache.folder if cache else None
        stream = self._stream("train", folder, room, shuffle=True, rank=rank, world_size=world_size)
        return EpochLoader(ShardBatches(stream, self.image_shape, total), self.num_workers, self.trainer)

    def _stream(
        self, split: str, cache: Path | None, room: int | None, shuffle: bool, rank: int = 0, world_size: int = 1
    ) -> "ShardStream":
        from .shard_reading import Fetched, ShardStream

        source = None
        if cache and self._bucket:
            source = Fetched(self._bucket, split, self.index.splits[split], cache, room, self._token)
            fetch_litdata_index(self._bucket, split, source.split, cache)
        return ShardStream(
            f"{self.root}/{split}" if source is None else source,
            shuffle=shuffle,
            seed=self.seed,
            batch_size=self.batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _room_of_worker(self) -> int:
        """Bytes of a bucket's shards that each of this machine's workers may have. Raises ConfigError if too few."""
        _, world_size = self._rank_and_world_size
        processes = -(-world_size // getattr(self.trainer, "num_nodes", 1))
        readers = processes * max(1, self.num_workers)
        needed = readers * AHEAD * self._largest_shard("train") / 1e9
        if self.cache_gb < needed:
            raise ConfigError(
                f"data.cache_gb: of {readers} that read on this machine each has up to {AHEAD} shards at a time; give "
                f"at least {needed:.2g}, not {self.cache_gb:g}"
            )
        return int(self.cache_gb * 1e9) // readers

    @cached_property
    def _token(self) -> str:
        return secrets.token_hex(4)

    def _largest_shard(self, split: str) -> int:
        return max(shard.bytes for shard in self.index.splits[split].shards)

    @cached_property
    def _train_cache(self) -> ShardCache | None:
        """Where a bucket's shards of train lie, from their first use to the end of this object."""
        return ShardCache(self.index.splits["train"], int(self.cache_gb * 1e9)) if self._bucket else None

    def _check(self) -> None:
        """Read every shard of a folder for its checksum, unless this machine has done that since they were changed.

        Those of a bucket are checked when they are fetched; before, whether they are there. Raises DataError.
        """
        if self._bucket and self._train_cache:
            check_bucket(self.index, self._bucket)
            if not self._train_cache.fits:
                self._room_of_worker()
            return
        root = Path(self.root)
        check_sizes(self.index, root)
        shards = [(root / name / shard.name, shard) for name, of in self.index.splits.items() for shard in of.shards]
        known = hashlib.sha256(repr([(str(path), path.stat().st_mtime_ns, shard) for path, shard in shards]).encode())
        checked = [folder / f"{known.hexdigest()[:16]}.checked" for folder in self.cache_folders]
        if any(path.is_file() for path in checked):
            return

        def check(number: int) -> None:
            path, shard = shards[number]
            check_content(path, shard)

        for_each(len(shards), check, "checking shards", f"{AGAIN}.", at_once=1, unit="shards")
        for path in checked:
            try:
                write_atomically(path, Path.touch)
                break
            except OSError:
                continue

    def _held(self) -> LabelledImages:
        """The drawn part of train, then val, then test, mapped from a file, which is written where there is none."""
        counts = {name: self.num_images(name) for name in HELD}
        counts["train"] = min(counts["train"], self.num_drawn)
        total, width = sum(counts.values()), self.index.record_bytes
        name = f"held-{hashlib.sha256(repr((counts, sorted(self.split_hashes.items()))).encode()).hexdigest()[:16]}.npy"
        flat = load_bytes(name, self.cache_folders, (total * width,), mapped=True)
        if flat is None and store_bytes(name, self.cache_folders, (total * width,), partial(self._fill_file, counts)):
            flat = load_bytes(name, self.cache_folders, (total * width,), mapped=True)
        if flat is None:
            flat = torch.empty(total * width, dtype=torch.uint8)
            self._fill(counts, flat)
        pixels = total * (width - LABEL_BYTES)
        return LabelledImages(flat[:pixels].view(total, *self.image_shape), flat[pixels:].clone().view(torch.int64))

    def _fill_file(self, counts: dict[str, int], flat: Tensor) -> None:
        """Raises FetchError where the disk has no room for shards: an OSError would say that it takes no such file."""
        try:
            self._fill(counts, flat)
        except DiskFullError as error:
            raise FetchError(f"{error}. Make room, or take another disk: XDG_CACHE_HOME=<folder>") from error

    def _fill(self, counts: dict[str, int], flat: Tensor) -> None:
        """Read the first images of each split, which lie in a drawn order: all pixels, then all labels."""
        total = sum(counts.values())
        pixels = total * (self.index.record_bytes - LABEL_BYTES)
        images, labels, done = flat[:pixels].view(total, *self.image_shape), flat[pixels:], 0
        with task("reading what is held", total, "images") as progress:
            for split, count in counts.items():
                for read in self._first(split, count):
                    end = done + len(read.images)
                    images[done:end] = read.images
                    labels[done * LABEL_BYTES : end * LABEL_BYTES] = read.labels.view(torch.uint8)
                    done = end
                    progress.advance(len(read.images))

    def _first(self, split: str, count: int) -> Iterator[LabelledImages]:
        if count == 0:
            return
        with self._cache_of(split) as (cache, room):
            records: list[bytes] = []
            for number, record in enumerate(self._stream(split, cache, room, shuffle=False), start=1):
                records.append(record)
                if len(records) == AT_ONCE or number == count:
                    yield from_records(records, self.image_shape)
                    records = []
                if number == count:
                    return

    @contextmanager
    def _cache_of(self, split: str) -> Iterator[tuple[Path | None, int | None]]:
        """Where a bucket's shards lie while they are held, and how many bytes of them at a time.

        They go when that is done, but for train's, if there is room for all of it.
        """
        cache = self._train_cache
        if cache is None:
            yield None, None
        elif split == "train" and cache.fits:
            yield cache.folder, None
        else:
            with TemporaryDirectory(dir=cache.folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder), AHEAD * self._largest_shard(split)

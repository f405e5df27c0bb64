"""Folders in which shards of a bucket lie while they are read, shared by the processes and the runs of a machine.

    <cache>/shards/<what the split is>/         index.json, and all of its shards, once they were read, if they fit
    <cache>/shards/<what the split is>/<…>/     if not, those that one process reads, or one worker of its loader
    <cache>/shards/<what the split is>.in_use   locked by everyone who reads there

A folder is named by the contents of its split, so that no other bucket's shards are ever taken for these. What killed
processes have left there is removed by the next that has it alone.
"""

import shutil
from contextlib import suppress
from typing import IO

from foundation.errors import ConfigError
from foundation.progress import say

from .disk_cache import user_caches
from .shards import LITDATA_INDEX, Split

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class ShardCache:
    """The folder of one split's shards, in use by this process for as long as this object lives."""

    def __init__(self, split: Split, room: int) -> None:
        """`room`: bytes of shards that may lie there at a time. Raises ConfigError where there is no cache folder."""
        folders = user_caches()
        if not folders:
            raise ConfigError("data.root: a bucket's shards need a cache folder: XDG_CACHE_HOME=<folder> gives one")
        self.folder = folders[0] / "shards" / split.sha256[:16]
        self.fits = split.bytes <= room
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._claimed(split)
        except OSError as error:
            raise ConfigError(
                f"data.root: a bucket's shards can't be kept in {self.folder} ({error.strerror}); "
                "XDG_CACHE_HOME=<folder> gives another"
            ) from error

    def _claimed(self, split: Split) -> IO[str] | None:
        """A lock that others may have as well; who has it alone tidies up first."""
        if fcntl is None:
            return None
        lock = self.folder.with_name(f"{self.folder.name}.in_use").open("w")
        try:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._tidy({shard.name: shard.bytes for shard in split.shards} if self.fits else {})
                self._tell_of_others()
            fcntl.flock(lock, fcntl.LOCK_SH)
        except OSError:  # a file system without locks
            lock.close()
            return None
        return lock

    def _tidy(self, whole: dict[str, int]) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LITDATA_INDEX and path.stat().st_size != whole.get(path.name):
                path.unlink(missing_ok=True)

    def _tell_of_others(self) -> None:
        others = [path for path in self.folder.parent.iterdir() if path.is_dir() and path != self.folder]
        size = 0
        with suppress(OSError):  # others come and go
            size = sum(path.stat().st_size for folder in others for path in folder.glob("*.bin"))
        if size:
            say(
                f"{self.folder.parent} also holds {size / 1e9:.2g} GB of other shards, in {len(others)} folders. Any "
                "of them can be removed: what is needed is fetched again."
            )

"""A cache on disk for tensors that are costly to compute, in the first of several folders that can be written."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foundation.atomic import write_atomically
from foundation.checksums import PLACE, damage, seal
from foundation.progress import say


def user_caches() -> list[Path]:
    """The user's cache folder for this program; none of a user who has no home, as in some containers."""
    cache = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return [] if cache.startswith("~") else [Path(cache) / "vae-vs-gan"]


def load_cached(name: str, folders: Sequence[Path], facts: Mapping[str, str]) -> dict[str, Tensor] | None:
    """The tensors stored under `name` with the same `facts`, if they are intact."""
    for folder in folders:
        try:
            with safe_open(folder / name, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, SafetensorError) as error:
            say(f"The cache {folder / name} can't be read ({error}); what it held is made again.")
            continue
        if metadata == {**facts, "checksum": checksum(tensors)}:
            return tensors
        say(f"The cache {folder / name} is damaged or holds something else; what it should hold is made again.")
    return None


def store_cached(tensors: Mapping[str, Tensor], name: str, folders: Sequence[Path], facts: Mapping[str, str]) -> None:
    """Write tensors to the first folder that takes them; say so where none does."""
    metadata = {**facts, "checksum": checksum(tensors)}
    if not _write_to_first(name, folders, lambda partial: save_file(dict(tensors), partial, metadata=metadata)):
        say(f"No folder takes the cache {name} ({listed(folders)}); it is made anew in each run.")


def load_bytes(name: str, folders: Sequence[Path], shape: tuple[int, ...], mapped: bool) -> Tensor | None:
    """The uint8 tensor of this shape stored under `name`: in memory, or mapped from its file and not to be written to.

    The whole file is read once, in blocks, for its checksum: whoever uses the images first reads them all too, to
    hash them (data.json), which takes longer. A file of an earlier version, without a checksum, is made again.
    """
    for folder in folders:
        try:
            if fault := damage(folder / name, must_have=True):
                raise ValueError(fault)
            # Not mode "c": what could be written to must fit in the memory, even if nothing is.
            array = np.load(folder / name, mmap_mode="r" if mapped else None, allow_pickle=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, EOFError) as error:
            say(f"The cache {folder / name} can't be read ({error}); what it held is made again.")
            continue
        if array.shape == shape and array.dtype == np.uint8:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")
                return torch.from_numpy(array)
        say(f"The cache {folder / name} holds something else; what it should hold is made again.")
    return None


def store_bytes(name: str, folders: Sequence[Path], shape: tuple[int, ...], fill: Callable[[Tensor], None]) -> bool:
    """Have `fill` write a uint8 tensor straight into a file, in the first folder that takes it.

    Returns whether there is such a folder; where there is none, that is said.
    """

    def write(partial: Path) -> None:
        array = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        reserve(partial)
        fill(torch.from_numpy(array))
        array.flush()
        with open(partial, "ab") as file:
            file.write(PLACE.encode())  # behind the array, where numpy does not look
        seal(partial)

    if path := _write_to_first(name, folders, write):
        tell_of_others(path)
        return True
    say(f"No folder takes the cache {name}, {prod(shape) / 1e9:.3g} GB ({listed(folders)}).")
    return False


def _write_to_first(name: str, folders: Sequence[Path], write: Callable[[Path], Any]) -> Path | None:
    """Write a file atomically to the first folder that takes it, and return where it is; None: there is no such."""
    for folder in folders:
        with suppress(OSError, SafetensorError):
            write_atomically(folder / name, write)
            return folder / name
    return None


def listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders)) or "there is no home folder; XDG_CACHE_HOME=<folder> gives one"


def tell_of_others(path: Path) -> None:
    """Say how many caches of other images or settings lie beside a new one, which nobody may need any more.

    They are not removed: runs with other settings, such as another split, may be using them.
    """
    others = [other for other in path.parent.glob(f"*{path.suffix}") if other != path]
    if others:
        size = sum(other.stat().st_size for other in others) / 1e9
        say(
            f"{path.parent} also holds {len(others)} of other images or settings, {size:.2g} GB in all. Any of them "
            "can be removed: what is needed is made again."
        )


def reserve(path: Path) -> None:
    """Have the disk keep room for the whole file: where it is full while a mapped file is filled, the process dies."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """A hash of the tensors' names and bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().data)
    return digest.hexdigest()

"""What is costly to compute, kept on disk as tensors: beside the data, or with the user where that can't be written."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae-vs-gan"


def load_cached(name: str, folders: Sequence[Path], facts: Mapping[str, str]) -> dict[str, Tensor] | None:
    """The tensors stored under `name`, if what the file says of itself is `facts` and its content is intact."""
    for folder in folders:
        try:
            with safe_open(folder / name, framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                told = file.metadata() or {}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, SafetensorError) as error:
            print(f"The cache {folder / name} can't be read ({error}); what it held is made again.")
            continue
        if told == {**facts, "checksum": checksum(tensors)}:
            return tensors
        print(f"The cache {folder / name} is damaged or holds something else; what it should hold is made again.")
    return None


def store_cached(tensors: Mapping[str, Tensor], name: str, folders: Sequence[Path], facts: Mapping[str, str]) -> None:
    """Write to the first folder that takes it, whole or not at all; say so where none does."""
    for folder in folders:
        partial = folder / f"{name}.{os.getpid()}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(dict(tensors), partial, metadata={**facts, "checksum": checksum(tensors)})
            os.replace(partial, folder / name)
            return
        except (OSError, SafetensorError):
            continue
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    print(f"No folder takes the cache {name} ({', '.join(map(str, folders))}); it is made anew in each run.")


def checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy())
    return digest.hexdigest()

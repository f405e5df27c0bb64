"""The format of prepared data: shards of litdata, a folder of them for each split, and an index that knows them all.

    <root>/images.json            what this file writes and reads: facts, counts, and each shard's size and sha256
    <root>/train/index.json       litdata's own, so that its StreamingDataset reads the folder too
    <root>/train/chunk-0-0.bin    images in an order that was drawn when they were written

An item of a shard is bytes: the pixels of one image, uint8 (C, H, W), then its label, eight bytes, little-endian.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from foundation.atomic import write_atomically
from foundation.checksums import CHECKSUM, PLACE, damage, seal
from foundation.given_files import read_text
from foundation.programs import typed

from .buckets import Bucket, MissingFileError
from .image_datamodule import DataError, LabelledImages
from .places import by_s3_tool, is_remote

INDEX = "images.json"
UNFINISHED = ".unfinished"  # a folder of what is known of the shards that have been written so far
LITDATA_INDEX = "index.json"
FORMAT = 1
LABEL_BYTES = 8
LARGEST_INDEX = 2**28  # bytes: of a million shards
SPLITS = ("train", "val", "test")
AGAIN = "Write the images into a new folder with prepare.py, or copy this one again from where it is intact"


class Shard(BaseModel):
    """One file of a split."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^chunk-0-\d+\.bin$")
    images: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Split(BaseModel):
    """The shards of a split, in the order in which litdata numbers them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    origin: str  # where its images come from, in words
    shards: list[Shard] = Field(min_length=1)

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    @property
    def sha256(self) -> str:
        """Of the shards' own: what the split's images are known again by."""
        return hashlib.sha256(" ".join(shard.sha256 for shard in self.shards).encode()).hexdigest()


class ShardIndex(BaseModel):
    """What is known of prepared data without reading an image."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int
    image_shape: list[int] = Field(min_length=3, max_length=3)
    class_names: list[str] = Field(min_length=1)
    source: str  # what the images were, in words
    settings: dict[str, Any]  # of prepare.py, that decided which images these are
    splits: dict[str, Split]

    @property
    def record_bytes(self) -> int:
        return prod(self.image_shape) + LABEL_BYTES


def write_index(index: ShardIndex, root: Path) -> None:
    """Raises OSError and DiskFullError."""
    content = {**index.model_dump(), CHECKSUM: PLACE}

    def write(partial: Path) -> None:
        partial.write_text(json.dumps(content))
        seal(partial)

    write_atomically(root / INDEX, write)


def read_index(root: str | Bucket) -> ShardIndex:
    """The index of a folder, or of a bucket. Raises DataError."""
    if isinstance(root, Bucket):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, INDEX)
            try:
                root.fetch(INDEX, path)
            except MissingFileError as error:
                raise DataError(_no_index(root.root)) from error
            return _parsed(path, root.root)
    if not Path(root, INDEX).is_file():
        raise DataError(_no_index(root))
    return _parsed(Path(root, INDEX), root)


def _no_index(root: str) -> str:
    wanted = f"{root} has no {INDEX}: data.root= wants what prepare.py has written, and finished."
    if is_remote(root):
        return f"{wanted} Copy all of that folder there{by_s3_tool('shards', root)}"
    if not Path(root).is_dir():
        return f"{wanted} There is no such folder"
    if Path(root, UNFINISHED).is_dir():
        return f"{wanted} It is unfinished: the command that began it goes on with it"
    if any(shard for split in SPLITS for shard in Path(root, split).glob("*.bin")):
        return f"{wanted} {AGAIN}"
    return (
        f"{wanted} A folder of image files becomes that by: python prepare.py {typed('images', root)} "
        "out=<new folder>; or use it with data=folder"
    )


def _parsed(path: Path, root: str) -> ShardIndex:
    try:
        if fault := damage(path, must_have=True):
            raise ValueError(fault)
        content = json.loads(read_text(path, LARGEST_INDEX))
        content.pop(CHECKSUM)
        index = ShardIndex.model_validate(content)
        if index.format != FORMAT:
            raise ValueError(f"it is of format {index.format}, and this version reads {FORMAT}")
        if set(index.splits) != set(SPLITS):
            raise ValueError(f"it has the splits {', '.join(index.splits)}")
    except (OSError, ValueError, ValidationError, AttributeError, KeyError) as error:
        raise DataError(f"{root}: {INDEX} can't be used ({error}). {AGAIN}") from error
    return index


def check_sizes(index: ShardIndex, root: Path) -> None:
    """Raise DataError unless every shard is there, whole by its size, and in litdata's index as in ours."""
    for name, split in index.splits.items():
        for shard in split.shards:
            path = root / name / shard.name
            try:
                found = path.stat().st_size
            except OSError as error:
                raise DataError(f"{path} is missing or can't be read ({error.strerror}). {AGAIN}") from error
            _check_size(str(path), found, shard)
        _check_litdata_index(root / name / LITDATA_INDEX, split, str(root / name))


def check_bucket(index: ShardIndex, bucket: Bucket) -> None:
    """Raise DataError unless every shard is in a bucket, whole by its size, as far as it lets its files be listed."""
    for name, split in index.splits.items():
        sizes = bucket.sizes(name)
        if sizes is None:
            return
        for shard in split.shards:
            if shard.name not in sizes:
                raise DataError(f"{bucket.root}/{name}/{shard.name} is missing. {AGAIN}")
            _check_size(f"{bucket.root}/{name}/{shard.name}", sizes[shard.name], shard)


def fetch_litdata_index(bucket: Bucket, name: str, split: Split, folder: Path) -> None:
    """Have litdata's index of a split in a folder, where it is as ours. Raises DataError."""
    path = folder / LITDATA_INDEX
    if not path.is_file():

        def fetch(partial: Path) -> None:
            bucket.fetch(f"{name}/{LITDATA_INDEX}", partial)
            _check_litdata_index(partial, split, f"{bucket.root}/{name}")

        write_atomically(path, fetch)


def _check_size(where: str, found: int, shard: Shard) -> None:
    if found != shard.bytes:
        raise DataError(f"{where} is damaged: it has {found:,} bytes, not {shard.bytes:,}. {AGAIN}")


def _check_litdata_index(path: Path, split: Split, where: str) -> None:
    try:
        listed = [(chunk["filename"], chunk["chunk_size"]) for chunk in json.loads(path.read_text())["chunks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}/{LITDATA_INDEX} can't be read ({error}). {AGAIN}") from error
    if listed != [(shard.name, shard.images) for shard in split.shards]:
        raise DataError(f"{where}/{LITDATA_INDEX} lists other shards than {INDEX}. {AGAIN}")


def check_content(path: Path, shard: Shard) -> None:
    """Raise DataError unless a shard's bytes are those that were written."""
    try:
        fault = content_fault(path, shard)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from error
    if fault:
        raise DataError(f"{path} is damaged: {fault}")


def content_fault(path: Path, shard: Shard) -> str | None:
    """In what a file differs from the shard that was written; None: in nothing. Raises OSError."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == shard.sha256:
        return None
    size = path.stat().st_size
    if size != shard.bytes:
        return f"it has {size:,} bytes, not {shard.bytes:,}"
    return f"its sha256 is {found[:12]}…, not {shard.sha256[:12]}…"


def to_record(image: Tensor, label: int) -> bytes:
    """One uint8 image (C, H, W) and its label as an item of a shard."""
    return image.contiguous().numpy().tobytes() + label.to_bytes(LABEL_BYTES, "little")


def from_records(records: Sequence[bytes], image_shape: Sequence[int]) -> LabelledImages:
    """Items of shards as uint8 (N, C, H, W) and labels (N,)."""
    rows = torch.from_numpy(np.frombuffer(bytearray().join(records), dtype=np.uint8).reshape(len(records), -1))
    labels = rows[:, -LABEL_BYTES:].contiguous().view(torch.int64).flatten()
    return LabelledImages(rows[:, :-LABEL_BYTES].contiguous().unflatten(1, tuple(image_shape)), labels)


def litdata_index(chunks: Sequence[Mapping[str, Any]], config: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """litdata's own index of a split. By `updated_at` it knows whether what it has in its cache is still this."""
    return {"chunks": list(chunks), "config": dict(config), "updated_at": sha256[:16]}

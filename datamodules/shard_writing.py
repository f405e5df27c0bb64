"""Writing images as shards: in parallel, each whole or not at all, so that what was interrupted goes on."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from foundation.atomic import write_atomically
from foundation.errors import ConfigError
from foundation.progress import say

from .decoding import for_each
from .folder_splits import number_of
from .image_datamodule import DataError
from .shards import (
    FORMAT,
    INDEX,
    LABEL_BYTES,
    LITDATA_INDEX,
    SPLITS,
    UNFINISHED,
    Shard,
    ShardIndex,
    Split,
    litdata_index,
    to_record,
    write_index,
)  # fmt: skip
from .sources import Source

SETTINGS = "settings.json"


def write_shards(
    source: Source, out: Path, image_shape: Sequence[int], shard_mb: float, settings: Mapping[str, Any]
) -> ShardIndex:
    """Write a source's images into a folder, or go on where that was interrupted, and return the index.

    `settings` are those that decide which images these are: with others an interrupted folder is not gone on with.
    Raises ConfigError, DataError or DiskFullError.
    """
    if (out / INDEX).exists():
        raise ConfigError(f"out: {out} holds prepared images already, which are left as they are; give another name")
    plan = planned(source, image_shape, shard_mb)
    begin(out, {**settings, "shard_mb": shard_mb, "fingerprint": source.fingerprint})
    todo = [
        (split, number) for split in SPLITS for number in range(len(plan[split])) if not _is_done(out, split, number)
    ]
    check_room(out, sum(len(plan[split][number]) for split, number in todo) * (prod(image_shape) + LABEL_BYTES))
    total = sum(map(len, plan.values()))
    if len(todo) < total:
        say(f"{out}: going on, {total - len(todo):,} of {total:,} shards are there")

    def write(index: int) -> None:
        split, number = todo[index]
        write_shard(source, plan[split][number], out, split, number)

    remedy = (
        f"Restore what is named or remove it. {out} is unfinished, and its shards are of the images as they were: "
        "remove it too, and run again"
    )
    for_each(len(todo), write, "writing shards", remedy, at_once=1, unit="shards")
    return finish(source, out, image_shape, settings, {split: len(plan[split]) for split in SPLITS})


def planned(source: Source, image_shape: Sequence[int], shard_mb: float) -> dict[str, list[list[str]]]:
    """By split: the keys of the images of each shard, in the order of a hash of their keys, which is as good as drawn.

    So any number of first images is a fair draw, and those of a class don't lie together.
    """
    size = max(1, int(shard_mb * 1e6 / (prod(image_shape) + LABEL_BYTES)))
    found = {}
    for split, keys in source.splits.items():
        order = sorted(keys, key=lambda key: number_of(key, "order"))
        found[split] = [order[start : start + size] for start in range(0, len(order), size)]
    return found


def begin(out: Path, settings: Mapping[str, Any]) -> None:
    """Claim a folder for these settings. Raises ConfigError if it holds something else, or was begun with others."""
    path = out / UNFINISHED / SETTINGS
    given = json.loads(json.dumps(settings))
    if path.is_file():
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise ConfigError(f"out: {path} can't be read ({error}); remove {out}, and begin anew") from error
        changed = [key for key in given if before.get(key) != given[key]]
        if changed:
            raise ConfigError(
                f"out: {out} was begun with other images or settings ({', '.join(changed)}), and is not finished. "
                "Give those again to go on with it, or remove it, or give another name"
            )
        return
    others = [entry.name for entry in out.iterdir() if entry.name not in (UNFINISHED, ".lock")] if out.is_dir() else []
    if others:
        raise ConfigError(f"out: {out} holds something else, such as {others[0]}; give the name of a new folder")
    write_atomically(path, lambda partial: partial.write_text(json.dumps(given)))


def check_room(out: Path, needed: int) -> None:
    """Raise ConfigError unless the disk has room for so many bytes."""
    free = shutil.disk_usage(out).free
    if needed > free:
        raise ConfigError(f"out: {out} needs {needed / 1e9:.3g} GB more, and its disk has {free / 1e9:.3g} GB left")


def write_shard(source: Source, keys: Sequence[str], out: Path, split: str, number: int) -> None:
    """Read images and write them as one shard, and then what is known of it. Raises DataError and DiskFullError."""
    records = []
    for key in keys:
        image, label = source.read(key)
        if not 0 <= label < len(source.class_names):
            raise DataError(
                f"{source.title}: {key} has the label {label}, and there are {len(source.class_names)} classes"
            )
        records.append(to_record(image, label))
    path = out / split / _name(number)
    facts: dict[str, Any] = {}
    write_atomically(path, lambda partial: facts.update(_write_records(records, partial)))
    shard = Shard(name=path.name, images=len(keys), bytes=facts["bytes"], sha256=facts["sha256"])
    known = {"shard": shard.model_dump(), "chunk": {**facts["chunk"], "filename": path.name}, "config": facts["config"]}
    write_atomically(_record_of(out, split, number), lambda partial: partial.write_text(json.dumps(known)))


def _write_records(records: Sequence[bytes], path: Path) -> dict[str, Any]:
    """Write one file of litdata's, and return what its index is to know of it."""
    from litdata.streaming.writer import BinaryWriter

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        writer = BinaryWriter(folder, chunk_size=len(records))
        for index, record in enumerate(records):
            writer[index] = record
        writer.done()
        (listed,) = Path(folder).glob(f"*.{LITDATA_INDEX}")
        index_of_one = json.loads(listed.read_text())
        (chunk,) = index_of_one["chunks"]
        os.replace(Path(folder, chunk["filename"]), path)
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    # The number of images differs between shards and is in each one's own entry.
    config = {**index_of_one["config"], "chunk_size": None}
    return {"bytes": path.stat().st_size, "sha256": sha256, "chunk": chunk, "config": config}


def finish(
    source: Source,
    out: Path,
    image_shape: Sequence[int],
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
) -> ShardIndex:
    """Write the indices of shards that are all there; ours comes last, and says that all is done."""
    splits = {}
    for split, count in counts.items():
        known = [json.loads(_record_of(out, split, number).read_text()) for number in range(count)]
        splits[split] = Split(origin=source.origins.get(split, ""), shards=[Shard(**one["shard"]) for one in known])
        content = litdata_index([one["chunk"] for one in known], known[0]["config"], splits[split].sha256)
        _write_json(out / split / LITDATA_INDEX, content)
    index = ShardIndex(
        format=FORMAT,
        image_shape=list(image_shape),
        class_names=list(source.class_names),
        source=source.title,
        settings=json.loads(json.dumps(settings)),
        splits=splits,
    )
    write_index(index, out)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return index


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, lambda partial: partial.write_text(json.dumps(content)))


def _is_done(out: Path, split: str, number: int) -> bool:
    path = _record_of(out, split, number)
    try:
        shard = Shard(**json.loads(path.read_text())["shard"])
        return (out / split / shard.name).stat().st_size == shard.bytes
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _record_of(out: Path, split: str, number: int) -> Path:
    return out / UNFINISHED / f"{split}-{number}.json"


def _name(number: int) -> str:
    return f"chunk-0-{number}.bin"

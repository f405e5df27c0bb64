"""Runs on data of one name whose images are not the same."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from run_folder.layout import DATA
from run_folder.records import DataRecord, RecordError, read_record

from .runs import Run


def remark_other_images(runs: Sequence[Run]) -> None:
    """Add a remark to those runs on one data set whose splits hold other images than those of most of its runs."""
    known = [(run, splits) for run in runs if (splits := _splits_of(run))]
    for split in ("train", "val", "test"):
        counts = Counter(splits[split] for _, splits in known if split in splits)
        if not counts:
            continue
        usual, _ = counts.most_common(1)[0]
        for run, splits in known:
            if splits.get(split, usual) != usual:
                run.remarks.append(f"its {split} images are not those of most runs on {run.data}")


def _splits_of(run: Run) -> dict[str, str]:
    """The hash of each split, as far as the run kept them."""
    with suppress(OSError, RecordError):
        return {name: split.sha256 for name, split in read_record(run.folder / DATA, DataRecord).splits.items()}
    return {}

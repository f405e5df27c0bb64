"""data.json: facts about a run's data, and which images it has, so that it is noticed when they are others."""

from pathlib import Path

from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from run_folder.layout import DATA
from run_folder.records import DataRecord, RecordError, SplitRecord, read_record, write_record

from .run_start import unwritable


def record_of(datamodule: ImageDataModule) -> DataRecord:
    return DataRecord(
        splits={name: SplitRecord(**known._asdict()) for name, known in datamodule.split_hashes.items()},
        image_shape=datamodule.image_shape,
        class_names=datamodule.class_names,
    )


def save_data(datamodule: ImageDataModule, run_dir: Path) -> None:
    """Write which images the splits hold. Raises ConfigError or DiskFullError if the folder can't be written."""
    try:
        write_record(run_dir / DATA, record_of(datamodule))
    except OSError as error:
        raise unwritable(error) from error


def read_data(run_dir: Path) -> DataRecord | None:
    """What a run has kept of its data; None if it kept nothing. Raises ConfigError if that can't be read."""
    path = run_dir / DATA
    if not path.is_file():
        return None
    try:
        return read_record(path, DataRecord)
    except RecordError as error:
        raise ConfigError(f"in {run_dir} {error}; restore {path}, or train anew") from error


def check_same_data(datamodule: ImageDataModule, run_dir: Path) -> None:
    """Raise ConfigError, which names what changed, unless the splits hold the images that they held in this run.

    Otherwise what the run has learned from could be in test. A run that kept no data.json is not checked.
    """
    before = read_data(run_dir)
    if before is None:
        print(f"{run_dir} has no {DATA}: whether these are the images that it learned from is not checked")
        return
    changes = [
        change
        for name, now in record_of(datamodule).splits.items()
        if (change := change_of(name, before.splits.get(name), now))
    ]
    if changes:
        raise ConfigError(
            f"the data is no longer that of {run_dir}: {'; '.join(changes)}. Give the run its own images again "
            "(data.root=), or train anew. If the files are the same, and this machine's Pillow decodes them otherwise, "
            f"remove {run_dir / DATA}"
        )


def change_of(split: str, before: SplitRecord | None, now: SplitRecord) -> str | None:
    """What is different in a split, in words; None: nothing."""
    if before is None or before == now:
        return None
    if before.images != now.images:
        return f"{split} has {now.images:,} images and had {before.images:,}"
    return f"{split} has {now.images:,} images as before, and not the same ones"

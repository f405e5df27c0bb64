"""The jobs of a sweep that have not begun: each leaves a record, in a folder of its number, until it begins.

So they are in the report of a sweep that was stopped before them, however it was stopped.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from run_folder.layout import STATUS, WAITING
from run_folder.records import NEVER_BEGUN, EndRecord, RecordError, project_version, read_record, write_record


def waiting_record(overrides: Sequence[str], identity: Mapping[str, Any]) -> EndRecord:
    message = f"{' '.join(overrides)}: not begun yet, or the sweep was stopped before; sweep.resume= begins it"
    return EndRecord(status=NEVER_BEGUN, message=message, **identity, version=project_version())


def leave_records(sweep_dir: Path, records: Sequence[EndRecord]) -> None:
    """Write the records of all jobs of a sweep that begins, in their order. Raises OSError."""
    if (sweep_dir / WAITING).is_symlink():
        return
    for folder in (sweep_dir / WAITING).glob("*"):  # of an earlier sweep into the same folder
        remove_record(sweep_dir, folder.name)
    for number, record in enumerate(records):
        write_record(sweep_dir / WAITING / str(number) / STATUS, record)


def has_begun(sweep_dir: Path) -> bool:
    """Whether any job of a sweep has a folder."""
    return any(path.is_dir() for path in sweep_dir.glob("[!.]*") if path.name != WAITING)


def remove_record(sweep_dir: Path, number: int | str) -> None:
    """Of a job that has left a record in its own folder. What is no such record, or lies behind a link, stays."""
    waiting = sweep_dir / WAITING
    folder = waiting / str(number)
    if waiting.is_symlink() or folder.is_symlink():
        return
    with suppress(OSError, RecordError):  # others are waiting, or something else lies there
        if read_record(folder / STATUS, EndRecord).status == NEVER_BEGUN:
            (folder / STATUS).unlink()
            folder.rmdir()
            waiting.rmdir()

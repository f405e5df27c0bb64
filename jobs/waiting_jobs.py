"""The jobs of a sweep that have not begun: each leaves a record, in a folder of its number, until it begins.

So they are in the report of a sweep that was stopped before them, however it was stopped.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from run_folder.layout import STATUS, WAITING
from run_folder.records import NEVER_BEGUN, EndRecord, project_version, write_record


def waiting_record(overrides: Sequence[str], identity: Mapping[str, Any]) -> EndRecord:
    message = f"{' '.join(overrides)}: not begun yet, or the sweep was stopped before; sweep.resume= begins it"
    return EndRecord(status=NEVER_BEGUN, message=message, **identity, version=project_version())


def leave_records(sweep_dir: Path, records: Sequence[EndRecord]) -> None:
    """Write the records of all jobs of a sweep that begins, in their order. Raises OSError."""
    shutil.rmtree(sweep_dir / WAITING, ignore_errors=True)  # of an earlier sweep into the same folder
    for number, record in enumerate(records):
        write_record(sweep_dir / WAITING / str(number) / STATUS, record)


def has_begun(sweep_dir: Path) -> bool:
    """Whether any job of a sweep has a folder."""
    return any(path.is_dir() for path in sweep_dir.glob("[!.]*") if path.name != WAITING)


def remove_record(sweep_dir: Path, number: int) -> None:
    """Of a job that has left a record in its own folder."""
    shutil.rmtree(sweep_dir / WAITING / str(number), ignore_errors=True)
    with suppress(OSError):  # others are waiting
        (sweep_dir / WAITING).rmdir()

"""metrics.csv: every scalar of a run, against training images seen.

Its last column is empty and named by the checksum of the file: what reads tables passes over it.
"""

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from foundation.atomic import write_atomically
from foundation.checksums import PLACE, damage, seal
from foundation.errors import UserError
from foundation.given_files import LARGEST_INTEGER, check_is_file

LARGEST = 2**26  # bytes: some 100,000 rows
MOST_SCALARS = 500
STEP = "step"
CHECKSUM = PLACE.partition(":")[0]  # what the name of its column begins with

Row = tuple[int, dict[str, float]]  # training images seen, and the scalars written then


class CurvesError(UserError):
    """A metrics.csv is damaged; the message says how. `rows` are those that can be read."""

    def __init__(self, message: str, rows: list[Row]) -> None:
        super().__init__(message)
        self.rows = rows


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics.csv, none if there is no such file. Raises CurvesError."""
    if not path.exists():
        return []
    check_size(path)
    fault = damage(path)
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        read, end = _parsed(file)
    rows = [row for row in read if row is not None]
    if not fault and len(rows) < len(read):
        fault = f"{len(read) - len(rows)} of its rows can't be read"
    fault = fault or end
    if fault:
        raise CurvesError(f"{path} is damaged: {fault}", rows)
    return rows


def check_size(path: Path) -> None:
    """Raise CurvesError for a pipe, a folder or what else is no file, and for one that no run has written."""
    try:
        check_is_file(path)
    except ValueError as error:
        raise CurvesError(str(error), []) from error
    if path.stat().st_size > LARGEST:
        raise CurvesError(f"{path.name} has more than {LARGEST:,} bytes", [])


def _parsed(file: TextIO) -> tuple[list[Row | None], str | None]:
    """The rows of a table, None for each that is none of metrics.csv; and why they are not all, None if they are."""
    rows: list[Row | None] = []
    reader = csv.DictReader(line.replace("\0", "") for line in file)
    try:
        if len(reader.fieldnames or ()) > MOST_SCALARS:
            return rows, f"it has more than {MOST_SCALARS} columns"
        rows.extend(map(_row_of, reader))
    except csv.Error as error:
        return rows, str(error)
    return rows, None if STEP in (reader.fieldnames or []) else "it has none of its rows"


def _row_of(fields: Mapping[str | None, str | list[str] | None]) -> Row | None:
    """A row of a table; None: it is none of metrics.csv."""
    try:
        scalars = {str(name): float(str(value)) for name, value in fields.items() if value and name != STEP}
        step = int(str(fields.get(STEP)))
    except ValueError:
        return None
    return (step, scalars) if 0 <= step < LARGEST_INTEGER else None


def add_rows(path: Path, rows: Sequence[Row], is_new: bool) -> None:
    """Write rows, behind those that are in the file unless it `is_new`; the file is replaced in one act."""
    stored = [] if is_new or not path.is_file() else _columns(path)
    columns = sorted({*stored, STEP, *(name for _, scalars in rows for name in scalars)})

    def write(partial: Path) -> None:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*columns, PLACE], restval="", extrasaction="ignore")
            writer.writeheader()
            if stored:
                with open(path, newline="", encoding="utf-8") as before:
                    if stored == columns:
                        before.readline()
                        shutil.copyfileobj(before, file)
                    else:
                        writer.writerows(csv.DictReader(before))
            writer.writerows({STEP: step, **scalars} for step, scalars in rows)
        seal(partial)

    write_atomically(path, write)


def _columns(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return [name for name in next(csv.reader(file), []) if not name.startswith(CHECKSUM)]

"""metrics.csv: every scalar of a run, against training images seen."""

import csv
import io
from pathlib import Path

from foundation.given_files import LARGEST_INTEGER, read_text

LARGEST = 2**26  # bytes: some 100,000 rows
MOST_SCALARS = 500


def read_rows(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The rows of a metrics.csv, none if there is no such file: training images seen, and the scalars written then.

    Raises ValueError, which names the file, for any other file; OSError if it can't be opened.
    """
    if not path.exists():
        return []
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, LARGEST), newline=""))
        if len(reader.fieldnames or ()) > MOST_SCALARS:
            raise ValueError(f"more than {MOST_SCALARS} columns")
        return [
            (_count(row.pop("step")), {name: float(value) for name, value in row.items() if value}) for row in reader
        ]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} can't be read: {error}") from error


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number < LARGEST_INTEGER:
        raise ValueError(f"a step of {text[:30]}")
    return number

"""metrics.csv: every scalar of a run, against training images seen."""

import csv
from pathlib import Path


def read_rows(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The rows of a metrics.csv, none if there is no such file: training images seen, and the scalars written then."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return [
            (int(row.pop("step")), {name: float(value) for name, value in row.items() if value})
            for row in csv.DictReader(file)
        ]

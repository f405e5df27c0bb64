"""metrics.json and status.json: what a run came to, or how it ended without that."""

import json
from pathlib import Path
from typing import Any

from foundation.atomic import write_atomically

from .layout import METRICS, STATUS


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


def finished_record(run_dir: Path) -> dict[str, Any] | None:
    """The record of a run that came to its end; None if there is no such run, or its record can't be read.

    A run with a status.json did not, whatever an earlier part of it left.
    """
    if (run_dir / STATUS).exists():
        return None
    try:
        record = json.loads((run_dir / METRICS).read_text())
        return record if "scores" in record else None
    except (OSError, ValueError, TypeError):
        return None

"""Finding run folders, finished or not, in and below the folders that a report is of."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from foundation.errors import UserError
from run_folder.kept_config import read_plain
from run_folder.layout import CONFIG, CURVES, METRICS, PICTURES, STATUS

from .runs import Run, read_run


class ReportError(UserError):
    """Nothing can be reported; the message says where was looked, and for what."""


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in and below the folders, each once. Raises ReportError if a folder is missing, or none has a run."""
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"{folder}: there is no such folder. Give folders that hold runs of train.py")
    shared = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    run_dirs = dict.fromkeys(run_dir.resolve() for folder in folders for run_dir in sorted(_run_folders(folder)))
    found = [read_run(path, str(path.relative_to(shared)) if path != shared else path.name) for path in run_dirs]
    if not found:
        raise ReportError(
            f"{', '.join(map(str, folders))}: no run of train.py in here or below, which would have a {CONFIG} with "
            "choices. Give the folder that a sweep or a run named"
        )
    return found


def _run_folders(top: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(top):
        if (CONFIG in (*files, *below) and not _of_another_program(Path(folder) / CONFIG)) or STATUS in files:
            below.clear()  # what evaluate.py and loggers write belongs to the run
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _of_another_program(config: Path) -> bool:
    try:
        content = read_plain(config)
    except (OSError, ValueError):
        content = {}
    if not content:
        # A run's own config can be damaged; what else a run has tells it from another program's.
        return not any((config.parent / name).exists() for name in (METRICS, CURVES, PICTURES, STATUS))
    return not isinstance(content.get("choices"), dict)

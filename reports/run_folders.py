"""Finding run folders, finished or not, in and below the folders that a report is of."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from foundation.errors import UserError
from foundation.progress import say, track
from run_folder.kept_config import read_plain
from run_folder.layout import CONFIG, CURVES, METRICS, PICTURES, STATUS
from run_folder.records import RecordError, RunRecord, read_record

from .runs import Run, read_run

LINKED_LEVELS = 3  # as multirun/<date>/<time>/<job>; somebody else's link may lead to all of a disk


class ReportError(UserError):
    """Nothing can be reported; the message says where was looked, and for what."""


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in and below the folders, each once, but for those of debug=…, which are no results.

    Raises ReportError if a folder is missing, or none has a run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"{folder}: there is no such folder. Give folders that hold runs of train.py")
    shared = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    places: dict[Path, Path] = {}  # of the runs themselves: where they were found, maybe by a link
    for folder in folders:
        for run_dir in sorted(_run_folders(folder)):
            places.setdefault(run_dir.resolve(), folder.resolve() / run_dir.relative_to(folder))
    found = [
        read_run(run_dir, str(place.relative_to(shared)) if place != shared else place.name)
        for run_dir, place in track(places.items(), len(places), "report: reading", "runs")
    ]
    if not found:
        raise ReportError(
            f"{', '.join(map(str, folders))}: no run of train.py in here or below, which would have a {CONFIG} with "
            "choices. Give the folder that a sweep or a run named"
        )
    results = [run for run in found if run.debug is None]
    if not results:
        raise ReportError(f"{', '.join(map(str, folders))}: all runs in here are of debug=…, which are no results")
    if len(results) < len(found):
        say(f"report: runs of debug=… are left out, {len(found) - len(results)}")
    return results


def _run_folders(top: Path, levels: int | None = None) -> Iterator[Path]:
    """Run folders in and below a folder, so many levels below; also where links in it lead, but not links in those."""
    for folder, below, files in os.walk(top):
        here = Path(folder)
        is_run = CONFIG in (*files, *below) and not _of_another_program(here / CONFIG)
        if is_run or STATUS in files or (METRICS in files and CONFIG not in files and _is_record(here / METRICS)):
            below.clear()  # what evaluate.py and loggers write belongs to the run
            yield here
        below[:] = [name for name in below if not name.startswith(".")]
        if levels is None:
            for name in below:
                if (here / name).is_symlink():  # which os.walk does not follow
                    yield from _run_folders(here / name, LINKED_LEVELS)
        elif len(here.relative_to(top).parts) >= levels:
            below.clear()


def _is_record(metrics: Path) -> bool:
    """Whether a file of this name, without a config beside it, is what is left of a run."""
    try:
        return "protocols" in read_record(metrics, RunRecord).model_fields_set
    except (OSError, RecordError):
        return False


def _of_another_program(config: Path) -> bool:
    try:
        content = read_plain(config)
    except (OSError, ValueError):
        content = {}
    if not content:
        # A run's own config can be damaged; what else a run has tells it from another program's.
        return not any((config.parent / name).exists() for name in (METRICS, CURVES, PICTURES, STATUS))
    return not isinstance(content.get("choices"), dict)

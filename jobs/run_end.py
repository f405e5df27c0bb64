"""status.json: how a run ended that has no scores to show for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from callbacks.divergence import DivergenceError
from run_folder.layout import CONFIG, STATUS
from run_folder.records import EndRecord, project_version, write_record


@contextmanager
def recording_end(run_dir: Path, identity: dict[str, Any]) -> Iterator[None]:
    """Around one job. If it fails, diverges or is stopped, say so in the run folder, and which run it was.

    A folder that holds another run, or the run to be continued, is left alone until this job has begun in it.
    """
    before = _written_at(run_dir / CONFIG)
    try:
        yield
    except BaseException as error:
        if before is None or _written_at(run_dir / CONFIG) != before:
            status, message = _in_words(error)
            end = EndRecord(status=status, message=message, **identity, version=project_version())
            with suppress(OSError):  # the error itself is what has to be told
                write_record(run_dir / STATUS, end)
        raise


def _in_words(error: BaseException) -> tuple[str, str]:
    """The status that an error stands for, and its message."""
    if isinstance(error, KeyboardInterrupt | SystemExit):  # at SIGTERM
        return "stopped", f"stopped from outside ({type(error).__name__})"
    diverged = DivergenceError in (type(error), type(error.__cause__))
    return "diverged" if diverged else "failed", str(error).strip() or type(error).__name__


def _written_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None

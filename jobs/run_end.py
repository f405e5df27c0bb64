"""status.json: how a run ended that failed, diverged or was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from callbacks.divergence import DivergenceError
from callbacks.health import HealthError
from run_folder.layout import CONFIG, STATUS
from run_folder.records import EndRecord, project_version, write_record

from .command_line import Stopped


@contextmanager
def recording_end(run_dir: Path, identity: dict[str, Any]) -> Iterator[None]:
    """Around one job: if it fails, diverges or is stopped, write that and the run's identity into its folder.

    A folder that holds another run, or the run to be resumed, is left alone until this job has written its config.
    """
    config_before = modified_at(run_dir / CONFIG)
    try:
        yield
    except BaseException as error:
        if config_before is None or modified_at(run_dir / CONFIG) != config_before:
            status, message = status_of(error)
            fields = identity | ({"health": error.found} if isinstance(error, HealthError) else {})
            end = EndRecord(status=status, message=message, **fields, version=project_version())
            with suppress(OSError):  # the error itself matters more
                write_record(run_dir / STATUS, end)
        raise


def status_of(error: BaseException) -> tuple[str, str]:
    """The status that an error stands for, and its message."""
    if isinstance(error, Stopped):
        return "stopped", str(error)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "stopped", f"stopped from outside ({type(error).__name__})"
    if isinstance(error, HealthError):
        return "stopped by health", str(error)
    diverged = isinstance(error, DivergenceError) or isinstance(error.__cause__, DivergenceError)
    return "diverged" if diverged else "failed", str(error).strip() or type(error).__name__


def modified_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None

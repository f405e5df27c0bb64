"""status.json: how a run ended that has no scores to show for it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from callbacks.divergence import DivergenceError
from run_folder.layout import CONFIG, STATUS
from run_folder.records import write_json


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
            plain = {name: value if isinstance(value, int | None) else str(value) for name, value in identity.items()}
            with suppress(OSError):  # the error itself matters more
                write_json(run_dir / STATUS, {"status": status, "message": message, **plain})
        raise


def status_of(error: BaseException) -> tuple[str, str]:
    """The status that an error stands for, and its message."""
    if isinstance(error, KeyboardInterrupt | SystemExit):  # at SIGTERM
        return "stopped", f"stopped from outside ({type(error).__name__})"
    diverged = isinstance(error, DivergenceError) or isinstance(error.__cause__, DivergenceError)
    return "diverged" if diverged else "failed", str(error).strip() or type(error).__name__


def modified_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None

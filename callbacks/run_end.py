"""status.json: how a run ended that has no scores to show for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .divergence import DivergenceError
from .run_folder import CONFIG, STATUS, write_json


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
            record = {"status": _status(error), "message": str(error).strip() or type(error).__name__, **identity}
            write_json(run_dir / STATUS, record)
        raise


def _status(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):  # Lightning's SIGTERMException is one
        return "stopped"
    return "diverged" if DivergenceError in (type(error), type(error.__cause__)) else "failed"


def _written_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None

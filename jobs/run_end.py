"""status.json: how a run ended that failed, diverged or was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from callbacks.divergence import DivergenceError
from callbacks.health import HealthError
from foundation.locks import InUseError
from run_folder.layout import CONFIG, STATUS, SWEEP
from run_folder.records import EndRecord, finished_record, project_version, write_record

from .requeued import REQUEUED
from .stopping import Stopped
from .waiting_jobs import remove_record


@contextmanager
def recording_end(run_dir: Path, identity: dict[str, Any], resumes: bool) -> Iterator[None]:
    """Around one job: if it fails, diverges or is stopped, write that and the run's identity into its folder.

    A folder that another program uses, or that holds another run, or the run to be resumed, is left alone until this
    job has written its config; but a sweep that `resumes` owns the runs that it has not finished. A job of a sweep
    that can't have its folder leaves its record in one beside it, for the report.
    """
    config_before = modified_at(run_dir / CONFIG)
    is_free = config_before is None or (resumes and finished_record(run_dir) is None)
    is_free = is_free and not is_of_another_job(run_dir)
    try:
        yield
    except BaseException as error:
        is_own = is_free or modified_at(run_dir / CONFIG) != config_before
        end = end_of(error, identity)
        is_written = is_own and not isinstance(error, InUseError) and write_end(run_dir, end)
        if in_sweep():
            is_written = is_written or write_end(folder_beside(run_dir), end)
            if is_written:
                remove_waiting()
        raise


def is_of_another_job(run_dir: Path) -> bool:
    """Whether another job of the sweep that is running has its run, or its end, in this folder."""
    if not in_sweep() or REQUEUED in HydraConfig.get().overrides.task:  # what lies there it has left itself
        return False
    begun = modified_at(Path(HydraConfig.get().sweep.dir) / SWEEP)
    left = [modified_at(run_dir / name) for name in (CONFIG, STATUS)]
    return begun is not None and any(when is not None and when >= begun for when in left)


def record_begin(run_dir: Path, identity: dict[str, Any]) -> None:
    """Leave a word in the folder of a sweep's job from its beginning on, should it be killed before it has a config."""
    if in_sweep() and not (run_dir / CONFIG).exists():
        message = "still reading its data, or ended without a word before it had a config"
        write_end(run_dir, EndRecord(status="unfinished", message=message, **identity, version=project_version()))
    remove_waiting()


def remove_waiting() -> None:
    """A job of a sweep that has a record of its own needs none among those that have not begun."""
    if in_sweep():
        hydra = HydraConfig.get()
        remove_record(Path(hydra.runtime.cwd, hydra.sweep.dir), hydra.job.num)  # with hydra.job.chdir it is elsewhere


def folder_beside(run_dir: Path) -> Path:
    """A folder that holds no run, named by a job's own and its number."""
    folder = run_dir.with_name(f"{run_dir.name}_{HydraConfig.get().job.num}")
    while (folder / CONFIG).exists():
        folder = folder.with_name(f"{folder.name}_")
    return folder


def in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def end_of(error: BaseException, identity: dict[str, Any]) -> EndRecord:
    status, message = status_of(error)
    fields = identity | ({"health": error.found} if isinstance(error, HealthError) else {})
    return EndRecord(status=status, message=message, **fields, version=project_version())


def write_end(folder: Path, end: EndRecord) -> bool:
    """Write status.json, if it can be: the error itself matters more. Returns whether it could."""
    try:
        write_record(folder / STATUS, end)
    except OSError:
        return False
    return True


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

"""Taking a run folder: it holds one run, and that run's config."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from foundation.atomic import DiskFullError, no_room, remove_orphans
from foundation.errors import ConfigError, UserError
from foundation.locks import FolderLock
from foundation.programs import typed
from run_folder.kept_config import write_config
from run_folder.layout import BEST, CHECKPOINTS, CONFIG, LAST, METRICS, STATUS, run_of

RUN_DIR = "hydra.run.dir"
WRITABLE = {  # by the setting that says where something is written: what is to be done where it can't be
    RUN_DIR: "The run folder must be writable; another one is chosen with hydra.run.dir=, a sweep's with "
    "hydra.sweep.dir=",
    "folder": "The folder of scores must be writable; another one is chosen with folder=",
    "out": "It must be possible to write there; another place is chosen with out=",
    "run": "An evaluation is written into the run folder; copy that to where it can be written, and evaluate the copy",
}


@contextmanager
def sole_use(folder: Path, option: str = RUN_DIR) -> Iterator[None]:
    """Let no other program write into a folder meanwhile, and remove what killed ones have left half-written in it.

    `option` is the setting by which the user chooses the folder, here and below. Raises InUseError at once if another
    program does, ConfigError or DiskFullError if the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
    except OSError as error:
        raise unwritable(error, option) from error
    try:
        for below, _, _ in os.walk(folder):
            remove_orphans(Path(below))
        yield
    finally:
        lock.release()


def claim(run_dir: Path, resumed_from: str | None, option: str = RUN_DIR) -> None:
    """Raise ConfigError if the folder can't be written, or holds a run already that is not the one to be resumed."""
    resumes = resumed_from is not None and run_of(Path(resumed_from)) == run_dir.resolve()
    if holds_run(run_dir) and not resumes:
        last, best = (run_dir / CHECKPOINTS / name for name in (LAST, BEST))
        kept = best if best.exists() and not last.exists() else last  # it was killed between the two of its first epoch
        raise ConfigError(
            f"{run_dir} already holds a run, which is left as it is. Choose another folder with {option}=, "
            f"or resume that run with {typed('ckpt_path', kept)}"
        )
    if run_dir.exists() and not os.access(run_dir, os.W_OK):  # refused before anything expensive starts
        raise unwritable(PermissionError(EACCES, os.strerror(EACCES), str(run_dir)), option)


def holds_run(run_dir: Path) -> bool:
    """Whether a folder has a run that could be lost: one of which a checkpoint was written, or a record.

    One that was refused or killed before has neither, and its folder is free.
    """
    is_begun = (run_dir / METRICS).exists() or any(run_dir.glob(f"{CHECKPOINTS}/*"))
    return (run_dir / CONFIG).exists() and is_begun


def resumable_checkpoint(run_dir: Path, is_writing: bool = True) -> str | None:
    """The checkpoint from which a stopped or failed run resumes; None, its config set aside, if it has to restart.

    That is set aside only by the process that `is_writing` into the folder.
    """
    last = run_dir / CHECKPOINTS / LAST
    if last.is_file():
        return str(last)
    if is_writing and (run_dir / CONFIG).is_file():
        os.replace(run_dir / CONFIG, run_dir / f"earlier_{CONFIG}")
    return None


def save_config(cfg: DictConfig, run_dir: Path, option: str = RUN_DIR) -> None:
    """Write the composed config, every reference in it resolved, and all choices: all that makes the run again.

    Raises ConfigError or DiskFullError if the folder can't be written.
    """
    plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    resolved = OmegaConf.create(plain | {"choices": typed_choices() | plain.get("choices", {})})
    try:
        write_config(run_dir / CONFIG, resolved)
        (run_dir / STATUS).unlink(missing_ok=True)  # of an earlier part of the run
    except OSError as error:
        raise unwritable(error, option) from error


def typed_choices() -> dict[str, str | None]:
    """The choice of every config group, as it was typed or is by default: `model/likelihood`, `gaussian_learned`."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices
    return {str(group): choice for group, choice in chosen.items() if not str(group).startswith("hydra/")}


def unwritable(error: OSError, option: str = RUN_DIR) -> UserError:
    """What failed when a folder was made or written first, and how to choose another one."""
    file = f"{error.filename}: " if error.filename else ""
    message = f"{file}{error.strerror or error}. {WRITABLE[option]}"
    return DiskFullError(message) if no_room(error) else ConfigError(message)

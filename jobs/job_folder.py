"""The folder of a sweep's job. Where it can't be had that job fails alone, and not the sweep by an error of Hydra's."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from foundation.errors import ConfigError, UserError
from run_folder.layout import WAITING

from .run_start import unwritable

SUBDIR = "hydra.sweep.subdir"
GIVEN = "given"  # beside it: what it was before it became a reference to `job_folder`
REFUSED = "refused"  # in the config of a job that can't be run: why


def register_job_folder() -> None:
    """Make `${job_folder:}` known to configs."""
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def find_by_job_folder(config: DictConfig) -> None:
    """Have the folder of a job found by `job_folder`, when Hydra asks for it."""
    sweep = config.hydra.sweep
    with open_dict(sweep):
        sweep[GIVEN] = as_written(config, "subdir")
        sweep.subdir = "${job_folder:}"


def job_folder(*, _root_: DictConfig) -> str:
    """The folder of a job, below its sweep's, which is made; else another, and why stands in the config of the job.

    Hydra asks for it when the job begins, once, and before it copies the config for the job.
    """
    try:
        subdir = given_subdir(_root_)
        make_folder(Path(_root_.hydra.sweep.dir, subdir))
    except UserError as error:
        if REFUSED not in _root_:
            refuse(_root_, str(error))
        return f"job_{_root_.hydra.job.num}"
    return subdir


def refuse(config: DictConfig, why: str) -> None:
    """Have a job say, once it is run, why it can't be."""
    with open_dict(config):
        config[REFUSED] = why.replace("${", r"\${")  # or it would be resolved itself


def given_subdir(config: DictConfig) -> str:
    """What `hydra.sweep.subdir` is for the job of this config. Raises ConfigError if that is not below the sweep's."""
    try:
        subdir = str(OmegaConf.select(config, f"hydra.sweep.{GIVEN}", throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"{SUBDIR}: {as_written(config, GIVEN)} can't be resolved ({str(error).splitlines()[0]}). Leave it away "
            "for folders named by what the jobs differ in"
        ) from error
    first, *_ = Path(os.path.normpath(subdir)).parts or (".",)
    if Path(subdir).is_absolute() or first in (".", "..", WAITING):
        raise ConfigError(
            f"{SUBDIR}: a job's folder has to lie below its sweep's, where the report looks for it, and not in "
            f"{WAITING}/, where the jobs are that have not begun; got {subdir}"
        )
    return subdir


def as_written(config: DictConfig, key: str) -> str:
    """A value of hydra.sweep, unresolved."""
    return str(dict(config.hydra.sweep.items_ex(resolve=False))[key])


def make_folder(folder: Path) -> None:
    """Raises ConfigError or DiskFullError if there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{folder}: something that is no folder lies in the place of this job's. Move it away, or choose other "
            f"folders with hydra.sweep.dir= or {SUBDIR}="
        ) from error
    except OSError as error:
        raise unwritable(error) from error

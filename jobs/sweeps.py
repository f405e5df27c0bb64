"""Going on with a sweep that was stopped: sweep.resume=<folder> repeats the command that began it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from foundation.errors import ConfigError

OPTION = "sweep.resume="
MAY_CHANGE = ("hydra.", "hydra/", "data.root=", "trainer.accelerator=")  # what is no part of a job's folder name
RECORD = "multirun.yaml"  # Hydra writes it when a sweep begins


def resumed(arguments: Sequence[str]) -> list[str]:
    """The arguments of train.py; with sweep.resume= among them, those that began that sweep come first.

    Raises ConfigError if the folder is not that of a sweep.
    """
    folders = [argument.removeprefix(OPTION) for argument in arguments if argument.startswith(OPTION)]
    if not folders or folders[-1] in ("", "null"):
        return list(arguments)
    folder = Path(folders[-1])
    if not (folder / RECORD).is_file():
        raise ConfigError(
            f"sweep.resume: {folder} is not the folder of a sweep: it has no {RECORD}. Give the folder in which its "
            "jobs' folders lie, such as multirun/<date>/<time>"
        )
    overrides = OmegaConf.load(folder / RECORD).hydra.overrides
    began = [*overrides.task, *(kept for kept in overrides.hydra if not kept.startswith("hydra.sweep.dir="))]
    added = [argument for argument in arguments if argument not in ("-m", "--multirun") and argument not in began]
    for override in added:
        if not override.startswith((OPTION, *MAY_CHANGE)):
            raise ConfigError(
                f"sweep.resume: {override} would make other jobs of these, in other folders. Only where and how they "
                f"run may change: {' '.join(MAY_CHANGE)}"
            )
    print(f"going on with: python train.py -m {shlex.join(began)}", flush=True)
    return ["--multirun", *(kept for kept in began if not kept.startswith(OPTION)), f"hydra.sweep.dir={folder}", *added]

"""Paths among the settings: a `~` in them is the home folder, and what a run keeps of them holds from everywhere."""

import os
import re
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from datamodules.places import is_remote
from foundation.errors import ConfigError
from foundation.programs import quoted
from run_folder.settings import setting_of

PATHS = {
    "data.root", "root", "ckpt_path", "run", "images", "latents", "out", "folder", "sweep.resume", "hydra.run.dir",
    "hydra.sweep.dir", "scores.extractor.weights", "model.initial_weights",
}  # fmt: skip
READ_AGAIN = ("data.root", "scores.extractor.weights")  # by who evaluates or resumes a run, from another folder maybe
QUOTED = re.compile(r"(['\"])(~.*)\1")


def expanded(arguments: Sequence[str]) -> list[str]:
    """Arguments of the command line with the home folder in place of a `~` that begins a path; of several, each.

    Raises ConfigError where there is no such folder.
    """
    return [_expanded(argument) if setting_of(argument) in PATHS else argument for argument in arguments]


def make_absolute(cfg: DictConfig) -> None:
    """Have a run's config name the places that are read again from everywhere, as they are meant from here."""
    for setting in READ_AGAIN:
        path = OmegaConf.select(cfg, setting, throw_on_resolution_failure=False)
        if isinstance(path, str) and path and not is_remote(path):
            OmegaConf.update(cfg, setting, os.path.abspath(os.path.expanduser(path)))


def at_home(name: str, path: str) -> str:
    found = os.path.expanduser(path)
    if found == path:
        home = path.partition("/")[0]
        raise ConfigError(
            f"{name.lstrip('+')}: {path}: there is no home folder {home}. A file of that name is ./{path}"
        )
    return found


def _expanded(argument: str) -> str:
    name, _, value = argument.partition("=")
    paths = [QUOTED.sub(r"\2", path) for path in value.split(",")]
    if not any(path.startswith("~") for path in paths):
        return argument
    whole = [quoted(at_home(name, path)) if path.startswith("~") else path for path in paths]
    return f"{name}={','.join(whole)}"

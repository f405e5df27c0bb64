"""The config that a run keeps: it is data, whoever wrote it, and what it has built must be named by conf/."""

import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from datamodules.places import is_remote
from foundation.errors import ConfigError
from run_folder.choices import CONF, check_named, check_unresolved, shortened
from run_folder.kept_config import read_plain
from run_folder.layout import CONFIG

from .config_check import check_numbers, check_sections, check_values
from .config_types import LIBRARIES, Training
from .object_check import check_objects, known_choices

OPTIMIZERS = tuple(name for name in LIBRARIES if name.startswith("torch.optim."))  # may be typed in place of conf/'s
SECTIONS = {"model", "data", "callbacks", "scores", "seed"}  # of every run's config
FETCHED_BY = ("weights", "url", "sha256_prefix")  # which file an extractor reads, from where, and what it must be


def read_config(run_dir: Path) -> DictConfig:
    """The config a run was built from. Raises ConfigError for what is none, or that names what conf/ does not."""
    path = run_dir / CONFIG
    try:
        is_there = path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or that no file can have
        fault = getattr(error, "strerror", None) or error
        raise ConfigError(f"run: {shortened(str(run_dir))} can't be a run folder: {fault}") from error
    if not is_there:
        raise ConfigError(f"run: {run_dir} is no run folder: it has no {CONFIG}. Give the folder that train.py named")
    try:
        plain = read_plain(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"run: {path} is no config that train.py wrote: {error}") from error
    if not SECTIONS.issubset(plain):
        raise ConfigError(f"run: {path} was not written by train.py. Give the folder that train.py named")
    plain.pop("logger", None)  # nothing that is done with a finished run logs; versions differ in it
    check_kept(plain, path)
    config = OmegaConf.create(plain)
    if config.model.get("initial_weights") is not None:
        config.model.initial_weights = None  # a file elsewhere, for the first step: the checkpoint has the last
    return config


def check_kept(config: Mapping[str, Any], path: Path) -> None:
    """Raise ConfigError unless a config may be built: its targets first, before any of them is imported."""
    check_unresolved(config, path)
    check_named(config, path, known_choices(), kin=OPTIMIZERS)
    try:
        check_objects(config)
        types = typing.get_type_hints(Training, include_extras=True)
        check_values("", config, types)
        check_sections(config)
        check_numbers(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def check_scores(config: DictConfig, path: Path) -> None:
    """Raise ConfigError where a run's scores would have another file of weights read or fetched than conf/ names."""
    extractor = (config.scores or {}).get("extractor") or {}
    choice, own = weights_of(extractor.get("_target_"))
    for name in FETCHED_BY:
        given, allowed = extractor.get(name), own.get(name)
        if given != allowed:
            raise ConfigError(
                f"{path}: scores.extractor.{name} is {shortened(given)}, expected {allowed!r}, as in conf/: which "
                f"weights are read is not for a run folder to say. Say it: scores={choice} scores.extractor.{name}=…"
            )


def weights_of(target: str | None) -> tuple[str, dict[str, Any]]:
    """The choice of scores that has an extractor, and which weights that reads."""
    for path in sorted((CONF / "scores").glob("*.yaml")):
        extractor = (OmegaConf.load(path).scores or {}).get("extractor") or {}
        if target is not None and extractor.get("_target_") == target:
            return path.stem, {name: extractor.get(name) for name in FETCHED_BY}
    return "", {}


def check_source(source: str, root: str | None, path: Path) -> None:
    """Raise ConfigError if a run's data would have to be fetched to where it says, unless that is where conf/ says."""
    if root is None or root in default_roots():
        return
    if is_remote(root):
        raise ConfigError(
            f"{path}: data.root is {shortened(root)}. Nothing is fetched from where a run folder says: say it "
            "yourself, data.root=<URL>"
        )
    if not Path(source).is_dir():
        raise ConfigError(
            f"{path}: data.root is {shortened(root)}, and there is no folder {source}. Nothing is fetched to where "
            "a run folder says: say yourself where the data is, data.root=<folder>"
        )


def default_roots() -> set[str]:
    """Where conf/ has the data of any data set."""
    loaded = [OmegaConf.load(path) for path in (CONF / "data").glob("*.yaml")]
    return {cfg.data.root for cfg in loaded if "root" in cfg.data and not OmegaConf.is_missing(cfg.data, "root")}

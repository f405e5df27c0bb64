"""What trackers are told of a run: its name, by what differs, and its settings, without places and machines."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from foundation.progress import say
from run_folder.layout import TRACKERS
from run_folder.records import RecordError, TrackersRecord, read_record, write_record
from run_folder.settings import as_dict, decides_weights, flattened, setting_of
from trackers.tracker import Ending, TrackedRun, Tracker

from .identity import identity_of
from .paths import PATHS
from .sweeps import folder_name, swept_settings

NAMED = ("model", "network", "data", "seed")  # in every run's columns
TYPED = "given"  # that of what else a single run was given on the command line
PLACE = re.compile(r"^([/~\\]|[A-Za-z]:[\\/]|[A-Za-z][A-Za-z0-9+.-]*://)")  # an absolute path, or an address


def begin_tracking(cfg: DictConfig, run_dir: Path, loggers: Sequence[Logger], resumed_at: int | None) -> None:
    """Have all trackers begin the run, or go on with that which they know of its folder. Raises TrackerError.

    `resumed_at`: the images seen by the checkpoint that the run is resumed from, in its own folder or in another.
    """
    trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
    kept = known_ids(run_dir) if resumed_at is not None else {}
    run, found = replace(tracked_run(cfg), images_seen=resumed_at), dict(kept)
    for tracker in trackers:
        if (begun := tracker.begin(replace(run, kept_id=kept.get(tracker.title)))) is not None:
            found[tracker.title] = begun
    write_record(run_dir / TRACKERS, TrackersRecord(runs=found))


def known_ids(run_dir: Path) -> dict[str, str]:
    """By which name each tracker knows the run in a folder."""
    path = run_dir / TRACKERS
    if not path.exists():
        return {}
    try:
        return read_record(path, TrackersRecord).runs
    except (RecordError, OSError) as error:
        say(f"{error}. Trackers begin a new run each")
        return {}


@contextmanager
def tracking(loggers: Sequence[Logger]) -> Iterator[None]:
    """Around a run: at its end the trackers are told how it ended, and have all that was sent."""
    ending: Ending = "finished"
    try:
        yield
    except BaseException as error:
        ending = "failed" if isinstance(error, Exception) else "stopped"
        raise
    finally:
        for logger in loggers:
            if isinstance(logger, Tracker):
                logger.close(ending)


def how_to_look(loggers: Sequence[Logger]) -> list[str]:
    """For each tracker the command or address that shows what it has."""
    return [logger.how_to_look() for logger in loggers if isinstance(logger, Tracker)]


def tracked_run(cfg: DictConfig) -> TrackedRun:
    """The run of a composed config."""
    plain = flattened(as_dict(cfg))
    identity = {name: value for name, value in identity_of(cfg).items() if value is not None}
    settings = {name: value for name, value in plain.items() if decides_weights(name) and value is not None}
    settings = {name: value for name, value in {**settings, **identity}.items() if is_shareable(name, value)}
    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    in_sweep = hydra is not None and hydra.mode == RunMode.MULTIRUN
    overrides = list(hydra.overrides.task) if hydra is not None else []
    swept = swept_settings() if in_sweep else []
    named = [given for given in overrides if not names_a_place(given)]
    return TrackedRun(
        name=folder_name([*named, f"seed={cfg.seed}"], 0, identity, swept),
        group=Path(hydra.sweep.dir).name if in_sweep and hydra is not None else None,
        settings=settings,
        differing=differing_settings(settings, swept, named),
    )


def differing_settings(settings: Mapping[str, Any], swept: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Model, network, data and seed; and in a sweep each setting that is swept over, else one text of what was typed.

    All runs of a sweep, and all single runs, have the same columns: TensorBoard takes those of the first that it finds.
    """
    named = {name: settings[name] for name in NAMED if name in settings}
    if swept:
        return named | {name: settings[name] for name in swept if name in settings and name not in named}
    typed = [given for given in overrides if decides_weights(setting_of(given)) and setting_of(given) not in named]
    return named | {TYPED: " ".join(typed)}


def names_a_place(override: str) -> bool:
    return not is_shareable(setting_of(override), override.partition("=")[2].strip("'\""))


def is_shareable(name: str, value: Any) -> bool:
    """Whether a setting names no place on a machine or in a network."""
    texts = value if isinstance(value, list) else [value]
    return name not in PATHS and not any(isinstance(text, str) and PLACE.match(text) for text in texts)

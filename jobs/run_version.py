"""Run folders that were written by another version of this project, and can't be built by this one."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError
from run_folder.layout import CONFIG, METRICS
from run_folder.records import RecordError, RunRecord, read_record

PROJECT = Path(__file__).parents[1]
FIRST_VERSION = "0.1"  # whose records do not state it


def check_classes_exist(config: DictConfig, run_dir: Path) -> None:
    """Raise ConfigError, naming the first, if a run's config names classes that this version does not have."""
    for target in _targets(OmegaConf.to_container(config)):
        if not _exists(target):
            raise ConfigError(
                f"run: {run_dir} was written by {_writer_of(run_dir)}: its {CONFIG} names {target}, which this "
                "version does not have. To evaluate the run, check out the version that wrote it and use the "
                "evaluate.py there; report.py of this version still reads the run"
            )


def _targets(node: Any) -> Iterator[str]:
    """The value of every `_target_` in a nested config, in its order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(node, list):
        for item in node:
            yield from _targets(item)


def _exists(target: str) -> bool:
    """Whether a class of this project is there. Nothing else than this project is imported to find out."""
    try:
        spec = find_spec(target.partition(".")[0])
        if spec is None:
            return False
        if spec.origin is not None and Path(spec.origin).is_relative_to(PROJECT):
            resolve_name(target)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def _writer_of(run_dir: Path) -> str:
    """Which version wrote a run folder, as far as it says so."""
    try:
        version = read_record(run_dir / METRICS, RunRecord).version or FIRST_VERSION
    except (OSError, RecordError):  # it never came to its end
        return "another version of this project"
    return f"version {version} of this project"

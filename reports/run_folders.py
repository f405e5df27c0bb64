"""What run folders hold, finished or not, read without trusting any of it."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from foundation.errors import UserError
from run_folder.curves import read_rows
from run_folder.layout import CONFIG, CURVES, EVALUATION, METRICS, PICTURES, STATUS

FINISHED = "finished"
COSTS = ("images_seen", "epochs", "seconds", "peak_memory_bytes")


class ReportError(UserError):
    """Nothing can be reported; the message says where was looked, and for what."""


class Column(NamedTuple):
    """What numbers must share to stand in one column."""

    score: str  # such as test/fid_reference
    protocol: str  # its hash


class Score(NamedTuple):
    value: float
    std: float | None  # over draws of fakes
    floor: float | None


@dataclass
class Run:
    """One training, or the images of another program, as far as its folder tells."""

    folder: Path
    name: str  # the folder, as seen from the folders that were given
    status: str  # finished, failed, stopped, diverged, damaged, or unfinished: no word of its end
    message: str = ""
    model: str | None = None
    network: str | None = None
    data: str | None = None
    experiment: str | None = None
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)  # dotted names
    scores: dict[Column, Score] = field(default_factory=dict)
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)  # COSTS and parameters, those that are known
    remarks: list[str] = field(default_factory=list)

    @cached_property
    def curves(self) -> dict[str, list[tuple[int, float | None, float]]]:
        """{scalar: [(training images seen, seconds or None, value)]} of metrics.csv; none where it can't be read."""
        curves: dict[str, list[tuple[int, float | None, float]]] = {}
        try:
            rows = read_rows(self.folder / CURVES)
        except (OSError, ValueError, TypeError, KeyError, UnicodeDecodeError):
            return {}
        for images_seen, scalars in rows:
            for name, value in scalars.items():
                if isfinite(value):
                    curves.setdefault(name, []).append((images_seen, scalars.get("seconds"), value))
        return curves

    def picture(self, name: str) -> Path | None:
        path = self.folder / PICTURES / f"{name}.png"
        return path if path.is_file() else None


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """All runs in and below the folders, each once. Raises ReportError if a folder is missing, or none has a run."""
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"{folder}: there is no such folder. Give folders that hold runs of train.py")
    shared = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    run_dirs = dict.fromkeys(run_dir.resolve() for folder in folders for run_dir in sorted(_run_folders(folder)))
    found = [read_run(path, str(path.relative_to(shared)) if path != shared else path.name) for path in run_dirs]
    if not found:
        raise ReportError(
            f"{', '.join(map(str, folders))}: no run of train.py in here or below, which would have a {CONFIG} with "
            "choices. Give the folder that a sweep or a run named"
        )
    return found


def _run_folders(top: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(top):
        if (CONFIG in files and not _of_another_program(Path(folder) / CONFIG)) or STATUS in files:
            below.clear()  # what evaluate.py and loggers write belongs to the run
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _of_another_program(config: Path) -> bool:
    try:
        content = yaml.safe_load(config.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if content is None:
        # A run's own config can be damaged; what else a run has tells it from another program's.
        return not any((config.parent / name).exists() for name in (METRICS, CURVES, PICTURES, STATUS))
    return not isinstance(content, dict) or not isinstance(content.get("choices"), dict)


def read_run(folder: Path, name: str) -> Run:
    run = Run(folder, name, FINISHED)
    try:
        _read_config(run)
        _read_end(run)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        run.status, run.message = "damaged", _in_words(error)
        run.scores, run.protocols = {}, {}
    return run


def _read_config(run: Run) -> None:
    path = run.folder / CONFIG
    if not path.is_file():
        return
    try:
        config = yaml.safe_load(path.read_text())
        choices = config["choices"]
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{CONFIG} can't be read: {_in_words(error)}") from error
    run.config = flattened(config)
    _identify(run, {"seed": config.get("seed"), **choices} if "model" in choices else {"data": choices.get("data")})


def _read_end(run: Run) -> None:
    """Status, scores and costs. Raises ValueError for what can't be read."""
    if (run.folder / STATUS).is_file():
        end = _read_json(run.folder / STATUS)
        _identify(run, end)
        run.status, run.message = str(end["status"]), str(end["message"])
    elif (run.folder / METRICS).is_file():
        record = _read_json(run.folder / METRICS)
        _identify(run, record)
        known = {name: float(record[name]) for name in COSTS if record.get(name) is not None}
        run.costs = {name: value for name, value in known.items() if isfinite(value)}
        if "parameters" in record:
            run.costs["parameters"] = float(record["parameters"]["total"])
        _add_scores(run, record, METRICS)
        _read_evaluation(run, record)
    else:
        run.status, run.message = "unfinished", f"no {METRICS}: still running, or ended without a word"
    if run.status != FINISHED and run.curves:
        run.costs["images_seen"] = float(max(points[-1][0] for points in run.curves.values()))


def _read_evaluation(run: Run, record: dict[str, Any]) -> None:
    """Add what evaluate.py scored later, if it was of the weights that the run was tested with."""
    path = run.folder / EVALUATION / METRICS
    if not path.is_file():
        return
    try:
        evaluation = _read_json(path)
        if all(evaluation[key] == record[key] for key in ("checkpoint", "checkpoint_epoch")):
            _add_scores(run, evaluation, str(path.relative_to(run.folder)))
        else:
            run.remarks.append(f"{EVALUATION}/ is of {evaluation['checkpoint']}, not of the tested weights: left out")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        run.remarks.append(f"{EVALUATION}/ left out: {_in_words(error)}")


def _add_scores(run: Run, record: dict[str, Any], source: str) -> None:
    """Raises ValueError unless the record's scores are complete; then none of them are taken."""
    try:
        scores = {
            Column(name, score["protocol"]): Score(
                float(score["value"]), _number(score.get("std")), _number(score.get("floor"))
            )
            for name, score in record["scores"].items()
        }
        protocols = {column.protocol: dict(record["protocols"][column.protocol]) for column in scores}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{source} is incomplete: {_in_words(error)}") from error
    for column, score in scores.items():
        if isfinite(score.value):
            run.scores.setdefault(column, score)
        else:
            run.remarks.append(f"{column.score} is {score.value}: left out of the tables")
    run.protocols = protocols | run.protocols


def _identify(run: Run, told: dict[str, Any]) -> None:
    for name in ("model", "network", "data", "experiment"):
        if told.get(name) is not None:
            setattr(run, name, str(told[name]))
    if type(told.get("seed")) is int:  # a run can have failed because of any other
        run.seed = told["seed"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path.name} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is no record")
    return content


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _in_words(error: Exception) -> str:
    words = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
    return " ".join(words.split())


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted name; an object's class under the object's name, `_partial_` and such nowhere."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name == "_target_":
            found[prefix.rstrip(".")] = str(value).rsplit(".", 1)[-1]
        elif isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}.")
        elif not str(name).startswith("_"):
            found[f"{prefix}{name}"] = value
    return found

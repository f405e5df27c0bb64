"""One run folder, finished or not, read without trusting any of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from run_folder.curves import CurvesError, read_rows
from run_folder.kept_config import read_plain
from run_folder.layout import CONFIG, CURVES, DATA, EVALUATION, METRICS, PICTURES, STATUS
from run_folder.pictures import ANIMATION, find_picture, kind_and_stage
from run_folder.records import (
    DataRecord,
    EndRecord,
    EvaluationRecord,
    HealthRecord,
    ProvenanceRecord,
    RecordError,
    RunRecord,
    Score,
    read_record,
)
from run_folder.settings import flattened

FINISHED = "finished"
COSTS = ("images_seen", "epochs", "seconds", "peak_memory_bytes")
IDENTITY = {"model", "network", "data", "experiment", "debug", "seed"}
UNREADABLE = (
    OSError,
    RecordError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
)  # what damaged files may raise

UNCONDITIONAL = "NoConditioning"  # the class that model.conditioning has where a model knows no labels
LONGEST = 300  # characters of a name or a message: more is no help to a reader

Curve = list[tuple[int, float | None, float]]  # (training images seen, seconds or None, value)


class Column(NamedTuple):
    """What numbers must share to stand in one column."""

    score: str  # such as test/fid_reference
    protocol: str  # its hash


def is_usable(value: float) -> bool:
    """Whether a number can be reckoned with: squares of larger ones, and reciprocals of smaller ones, are infinite."""
    return isfinite(value) and (value == 0 or 1e-100 < abs(value) < 1e100)


@dataclass
class Run:
    """One training, or the images of another program, as far as they are known from its folder."""

    folder: Path
    name: str  # the folder, as seen from the folders that were given
    # finished, failed, stopped, stopped by health, diverged, never begun, damaged, or unfinished: no word of its end
    status: str
    message: str = ""
    model: str | None = None
    network: str | None = None
    data: str | None = None
    experiment: str | None = None
    debug: str | None = None  # the preset of a run that is no result
    seed: int | None = None
    config: dict[str, Any] = field(default_factory=dict)  # dotted names
    scores: dict[Column, Score] = field(default_factory=dict)
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)  # COSTS and parameters, those that are known
    remarks: list[str] = field(default_factory=list)
    typed: dict[str, str] = field(default_factory=dict)  # dotted setting: the choice that was typed for it
    kl_by_dimension: list[float] | None = None  # nats
    sample_diversity: float | None = None  # spread of samples over that of real images; 0: all are the same
    extractor_accuracy: dict[str, float] = field(default_factory=dict)  # on real test images, by protocol
    health: list[HealthRecord] = field(default_factory=list)  # what was noticed while it was trained
    made: dict[str, str] = field(default_factory=dict)  # how the run came about, as far as its record says
    evaluated: dict[str, str] = field(default_factory=dict)  # the same of what evaluate.py scored later
    notes: list[str] = field(default_factory=list)  # what is left out of the scores, and what says little
    classes: dict[str, dict[str, float]] = field(default_factory=dict)  # {"real", "generated": {class: share}}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """The curve of each scalar in metrics.csv; none where it can't be read."""
        curves: dict[str, Curve] = {}
        try:
            rows = read_rows(self.folder / CURVES)
        except (OSError, CurvesError) as error:
            self.remarks.append(f"{CURVES} is left out: {_one_line(error)}")
            return {}
        for images_seen, scalars in rows:
            for name, value in scalars.items():
                if is_usable(value):
                    curves.setdefault(name, []).append((images_seen, _finite(scalars.get("seconds")), value))
        return curves

    @property
    def trials(self) -> int | None:
        """How many settings were tried on val before these were chosen, as the config states; None: it doesn't."""
        trials = self.config.get("recipe.trials")
        return trials if type(trials) is int and trials > 0 else None

    @property
    def search(self) -> str | None:
        """What tried them."""
        search = self.config.get("recipe.search")
        return None if search is None else str(search)

    @property
    def images_per_second(self) -> float | None:
        seen, seconds = self.costs.get("images_seen"), self.costs.get("seconds")
        return seen / seconds if seen and seconds else None

    @property
    def seconds_around_steps(self) -> float | None:
        """The seconds that a run took beyond its pace between the first and the last point of its curves.

        They go into its start and its end: first steps on cold caches, and what is drawn and written at the end.
        """
        timed = {seen: at for name, curve in self.curves.items() if name.startswith("train/") for seen, at, _ in curve}
        points = sorted((seen, at) for seen, at in timed.items() if at is not None)
        seen, seconds = self.costs.get("images_seen"), self.costs.get("seconds")
        if seen is None or seconds is None or len(points) < 2 or points[-1][1] <= points[0][1]:
            return None
        (first, began), (last, ended) = points[0], points[-1]
        return min(max(seconds - seen * (ended - began) / (last - first), 0.0), seconds)

    def cost(self, name: str, unit: float) -> float | None:
        """One of the costs in a larger unit."""
        return self.costs[name] / unit if name in self.costs else None

    def picture(self, name: str) -> Path | None:
        """A picture by its kind and stage, `samples_fixed_final`, or None.

        One that is a link to elsewhere is not the run's to show.
        """
        path = find_picture(self.folder, *kind_and_stage(name))
        return self._own(path) if path else None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes of its data, as far as the run kept their names."""
        with suppress(OSError, RecordError):
            return read_record(self.folder / DATA, DataRecord).class_names or ()
        return ()

    @property
    def knows_classes(self) -> bool:
        """Whether its model was given labels, so that its pictures of samples have a column for each class."""
        return self.config.get("model.conditioning") not in (None, UNCONDITIONAL)

    @property
    def animation(self) -> Path | None:
        """Its samples in the course of training, where they were drawn as one file."""
        return self._own(self.folder / PICTURES / ANIMATION)

    def _own(self, path: Path) -> Path | None:
        """A file of the folder; None of one that is not there, or is a link to elsewhere and not the run's to show."""
        return path if path.is_file() and path.resolve().is_relative_to(self.folder.resolve()) else None


def read_run(folder: Path, name: str) -> Run:
    """The run in a folder, with the status "damaged" and a message if its config or record can't be read."""
    run = Run(folder, name, FINISHED)
    _ = run.curves  # first: what is wrong with them is remarked
    try:
        _read_config(run)
        _read_result(run)
    except UNREADABLE as error:
        run.status, run.message = "damaged", _one_line(error)
        run.scores, run.protocols = {}, {}
    return run


def _read_config(run: Run) -> None:
    path = run.folder / CONFIG
    if not path.exists():
        return
    try:
        config = read_plain(path)
        choices = config["choices"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{CONFIG} can't be read: {_one_line(error)}") from error
    run.config = flattened(config)
    run.typed = {
        setting_filled_by(group): str(choice)
        for group, choice in choices.items()
        if "/" in group and choice is not None
    }
    _identify(run, {"seed": config.get("seed"), **choices} if "model" in choices else {"data": choices.get("data")})


def _read_result(run: Run) -> None:
    """Status, scores and costs. Raises RecordError or ValueError for what can't be read."""
    if (run.folder / STATUS).exists():
        end = read_record(run.folder / STATUS, EndRecord)
        _identify(run, end.model_dump(include=IDENTITY))
        run.status, run.message = end.status, end.message
        run.health = end.health or []
    elif (run.folder / METRICS).exists():
        record = read_record(run.folder / METRICS, RunRecord)
        _identify(run, record.model_dump(include=IDENTITY))
        run.costs = _costs_of(record)
        run.made = _made_of(record)
        run.health = record.health or []
        _add_scores(run, record, METRICS)
        _add_details(run, record)
        _read_evaluation(run, record)
    else:
        run.status, run.message = "unfinished", f"no {METRICS}: still running, or ended without a word"
    if run.status != FINISHED and run.curves:
        run.costs["images_seen"] = float(max(points[-1][0] for points in run.curves.values()))


def _costs_of(record: RunRecord) -> dict[str, float]:
    known = {name: float(cost) for name in COSTS if (cost := getattr(record, name)) is not None}
    costs = {name: cost for name, cost in known.items() if is_usable(cost)}
    if record.parameters and is_usable(record.parameters["total"]):
        costs["parameters"] = float(record.parameters["total"])
    return costs


def _made_of(record: RunRecord | EvaluationRecord) -> dict[str, str]:
    """With what command, version, libraries and device, on which day: what is known of these."""
    known = record.provenance or ProvenanceRecord(libraries=record.libraries)
    facts = {
        "date": known.date,
        "version": record.version,
        "commit": f"{known.commit}, changed" if known.commit and known.changed else known.commit,
        "device": known.device,
        "libraries": ", ".join(f"{name} {version}" for name, version in known.libraries.items()),
        "command": record.command if isinstance(record, RunRecord) else None,
    }
    return {name: value[:LONGEST] for name, value in facts.items() if value}


def _read_evaluation(run: Run, record: RunRecord) -> None:
    """Add what evaluate.py scored later, if it was of the weights that the run was tested with."""
    path = run.folder / EVALUATION / METRICS
    if not path.exists():
        return
    try:
        evaluation = read_record(path, EvaluationRecord)
        if (evaluation.checkpoint, evaluation.checkpoint_epoch) == (record.checkpoint, record.checkpoint_epoch):
            _add_scores(run, evaluation, str(path.relative_to(run.folder)))
            _add_details(run, evaluation)
            run.evaluated = _made_of(evaluation)
        else:
            run.remarks.append(f"{EVALUATION}/ is of {evaluation.checkpoint}, not of the tested weights: left out")
    except UNREADABLE as error:
        run.remarks.append(f"{EVALUATION}/ left out: {_one_line(error)}")


def _add_scores(run: Run, record: RunRecord | EvaluationRecord, source: str) -> None:
    """Raises ValueError unless all of the record's scores have their protocols; then none of them are taken."""
    scores = {Column(name, score.protocol): score for name, score in record.scores.items()}
    for column in scores:
        if column.protocol not in record.protocols:
            raise ValueError(f"{source} is incomplete: no {column.protocol}")
    for column, score in scores.items():
        if is_usable(score.value):
            beside = {name: _finite(getattr(score, name)) for name in ("std", "floor")}
            run.scores.setdefault(column, score.model_copy(update=beside))
        else:
            run.remarks.append(f"{column.score} is {float(score.value)}: left out of the tables")
    run.protocols = {column.protocol: record.protocols[column.protocol] for column in scores} | run.protocols


def _add_details(run: Run, record: RunRecord | EvaluationRecord) -> None:
    """What else is told of the model's samples and latents; nothing that a record lacks, or that is no number."""
    details = record.model_dump()
    if record.kl_by_dimension:
        run.kl_by_dimension = [float(kl) for kl in record.kl_by_dimension]
    if (diversity := _finite(details.get("sample_diversity"))) is not None:
        run.sample_diversity = diversity
    for source, shares in (record.classes or {}).items():
        known = {name: share for name, value in shares.items() if (share := _finite(value)) is not None}
        run.classes.setdefault(source[:LONGEST], known)
    for name, notes in (details.get("notes") or {}).items():
        run.notes += [f"{note} ({name})" for note in notes]
    accuracies = details.get("extractor_accuracy") or {}
    for name, score in record.scores.items():
        accuracy = _finite(accuracies.get(name.rsplit("_", 1)[-1]))
        if accuracy is not None and "extractor" in record.protocols[score.protocol]:
            run.extractor_accuracy.setdefault(score.protocol, accuracy)


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and is_usable(value) else None


def setting_filled_by(group: str) -> str:
    """The setting that a config group fills: `model.likelihood` of `model/likelihood`, what stands behind an @."""
    return group.rpartition("@")[2].replace("/", ".")


def _identify(run: Run, identity: Mapping[str, Any]) -> None:
    """Take over what is known of the model, the data and the seed."""
    for name in ("model", "network", "data", "experiment", "debug"):
        if identity.get(name) is not None:
            setattr(run, name, str(identity[name])[:LONGEST])
    if type(identity.get("seed")) is int:  # a run can have failed because of any other
        run.seed = identity["seed"]


def _one_line(error: Exception) -> str:
    message = " ".join((f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)).split())
    return message if len(message) <= LONGEST else f"{message[:LONGEST]}…"

"""The form of metrics.json, status.json and data.json: what a run has come to, how it ended, what it learned from."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Interval
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainValidator,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

from foundation.atomic import write_atomically
from foundation.checksums import CHECKSUM, PLACE, damage, seal
from foundation.errors import UserError
from foundation.given_files import check_is_file, check_values, read_text

from .layout import METRICS, STATUS

LARGEST = 2**22  # bytes; those of this project have some 10,000


NEVER_BEGUN = "never begun"  # the status of a job that its sweep has not come to


class RecordError(UserError):
    """A record can't be read; the message names the file and what is wrong with it."""


def _checked_number(value: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    raise ValueError(f"expected a number, got {value!r}")


Number = Annotated[int | float, PlainValidator(_checked_number)]  # an int stays one; nan and infinity are numbers
Seed = Annotated[int | None, BeforeValidator(lambda value: value if type(value) is int else None)]
Side = Annotated[int, Interval(ge=1, le=2**14)]  # of an image, and its channels
Text = Annotated[str | None, BeforeValidator(lambda value: None if value is None else str(value))]
# By name of the scores, such as reference: the share of real test images of which their extractor is right; None
# where it does not know their classes.
Accuracy = dict[str, Number | None]
Given = Annotated[  # a value of the command line, right or wrong
    int | str | None, PlainValidator(lambda value: value if isinstance(value, int | None) else str(value))
]


class Record(BaseModel):
    """A value that is read from a file and written as JSON.

    A key that it was not given is not written, so that old files, which lack some, stay as they are. Keys that this
    version does not know are kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow")


R = TypeVar("R", bound=Record)


class Score(Record):
    """One score of a model, with all that says what it can be compared with."""

    value: Number
    std: Number | None = None  # over draws of fakes
    floor: Number | None = None  # what real images score
    protocol: str  # the hash by which the record's protocols hold it
    weights: Text = None  # raw or averaged, or that images were given
    latents: str | None = None  # what they were drawn from: "prior", or the density's name

    @model_serializer(mode="wrap")
    def _without_unknown_latents(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if key != "latents" or value is not None}


class HealthRecord(Record):
    """Something that callbacks/health.py noticed while a run was trained, when it was first certain of it."""

    kind: str  # such as "missing modes"
    text: str  # what was seen
    images_seen: Number
    epoch: Number  # counted from 1
    measured: Number
    threshold: Number


class ProvenanceRecord(Record):
    """Code, libraries, machine and time that a record's numbers come from."""

    commit: Text = None  # of the checkout; None: an installed package
    changed: bool | None = None  # whether its files differed from the commit
    date: Text = None  # ISO 8601, UTC: when the program began
    device: Text = None
    threads: int | None = None
    python: Text = None
    libraries: dict[str, str] = {}


class RunRecord(Record):
    """metrics.json of a finished training. Its identity comes first, then what it cost, then its scores."""

    model: Text = None
    network: Text = None
    data: Text = None
    scores: dict[str, Score]  # by name, such as test/fid_reference
    experiment: Text = None
    seed: Seed = None
    parameters: dict[str, Number] = {}  # total, and by network
    images_seen: Number | None = None  # by the last weights; those that are tested may be earlier
    epochs: Number | None = None
    stopped_early: Text = None  # why there are fewer than trainer.max_epochs
    seconds: Number | None = None
    peak_memory_bytes: Number | None = None
    best_val_score: Number | None = None  # what chose the best checkpoint
    protocols: dict[str, dict[str, Any]] = {}  # by hash
    classes: dict[str, dict[str, Number]] | None = None  # {"real" and "generated": {class: share}}
    kl_by_dimension: list[Number] | None = None  # nats
    extractor_accuracy: Accuracy = {}
    notes: dict[str, list[str]] = {}  # by name of the scores: what is left out of them, and what says little
    sample_diversity: Number | None = None  # of a draw's pixels, over that of real images; 0: all samples are the same
    libraries: dict[str, str] = {}  # of records without provenance, which has them since 0.2
    health: list[HealthRecord] | None = None  # what was noticed while training; None: nobody looked
    test: dict[str, Number] = {}  # the terms of the loss on test, and what else is measured besides scores
    checkpoint_epoch: Number | None = None
    checkpoint: Text = None  # that was tested, relative to the run folder
    version: str | None = None  # of this project; none before 0.2
    command: str | None = None  # that makes the same run, but for where its files lie
    provenance: ProvenanceRecord | None = None  # of the last part of a resumed run; none before 0.2


class EvaluationRecord(Record):
    """evaluation/metrics.json: what `evaluate.py run=…` scored of one checkpoint."""

    scores: dict[str, Score]
    protocols: dict[str, dict[str, Any]] = {}
    classes: dict[str, dict[str, Number]] | None = None
    kl_by_dimension: list[Number] | None = None
    extractor_accuracy: Accuracy = {}
    notes: dict[str, list[str]] = {}
    sample_diversity: Number | None = None
    libraries: dict[str, str] = {}  # as in a RunRecord
    checkpoint: str
    images_seen: Number | None = None  # by the weights that were scored
    checkpoint_epoch: Number | None
    test: dict[str, Number] = {}
    version: str | None = None
    provenance: ProvenanceRecord | None = None


class GivenImagesRecord(Record):
    """metrics.json of `evaluate.py images=…`: what another program's images score."""

    model: str  # the name that was given to them
    network: None = None
    data: str
    seed: None = None
    images: str  # the path of the archive or folder
    images_sha256: str
    num_images: int
    scores: dict[str, Score]
    protocols: dict[str, dict[str, Any]]
    classes: dict[str, dict[str, Number]] | None = None
    extractor_accuracy: Accuracy = {}
    notes: dict[str, list[str]] = {}
    sample_diversity: Number | None = None
    version: str | None = None
    provenance: ProvenanceRecord | None = None


class SplitRecord(Record):
    """The images of one split."""

    images: int
    sha256: str  # of their pixels and labels, in their order


class DataRecord(Record):
    """data.json, written when a run begins: which images its splits hold, and what a model is built by."""

    splits: dict[str, SplitRecord]
    image_shape: tuple[Side, Side, Side] | None = None  # (C, H, W); none before 0.2
    class_names: tuple[str, ...] | None = None


class EndRecord(Record):
    """status.json of a run that ended before its metrics.json: how, and which run it was."""

    status: Annotated[str, BeforeValidator(str)]  # failed, diverged, stopped, stopped by health, or never begun
    message: Annotated[str, BeforeValidator(str)]
    health: list[HealthRecord] | None = None  # of a run that was stopped for it
    model: Text = None
    network: Text = None
    data: Text = None
    scores: Given = None  # the choice
    experiment: Text = None
    seed: Given = None
    version: str | None = None


class TrackersRecord(Record):
    """trackers.json: by which name each tracker knows a run, to go on there when it is resumed."""

    runs: dict[str, Annotated[str, StringConstraints(pattern=r"^[\w-]{1,100}$")]]


def project_version() -> str:
    """The version of this project that is installed."""
    try:
        return version("vae-vs-gan")
    except PackageNotFoundError:  # it is run from a checkout
        return "unknown"


def write_record(path: Path, record: Record) -> None:
    """Write a record and its checksum. Raises OSError."""
    content = json.dumps(record.model_dump(exclude_unset=True) | {CHECKSUM: PLACE}, indent=2)

    def write(partial: Path) -> None:
        partial.write_bytes(f"{content}\n".encode())  # the same bytes on every system
        seal(partial)

    write_atomically(path, write)


def read_record(path: Path, kind: type[R]) -> R:
    """Raises RecordError for a file that is damaged or incomplete, OSError for one that can't be opened."""
    try:
        check_is_file(path)
        if fault := damage(path):
            raise RecordError(f"{path.name} is damaged: {fault}. If you changed it, remove its {CHECKSUM!r}")
        content = json.loads(read_text(path, LARGEST))
        check_values(path.name, content)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path.name} is no record")
    try:
        return kind.model_validate({key: value for key, value in content.items() if key != CHECKSUM})
    except ValidationError as error:
        raise RecordError(f"{path.name} is incomplete: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"]))
    return f"no {key}" if problem["type"] == "missing" else f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def finished_record(run_dir: Path) -> RunRecord | None:
    """The record of a run that came to its end; None if there is no such run, or its record can't be read.

    A run with a status.json did not, whatever an earlier part of it left.
    """
    if (run_dir / STATUS).exists():
        return None
    try:
        return read_record(run_dir / METRICS, RunRecord)
    except (OSError, RecordError):
        return None

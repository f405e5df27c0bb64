"""metrics.json and status.json: what is written is read again, and what is damaged is named."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from run_folder.layout import METRICS, STATUS
from run_folder.records import (
    EndRecord,
    EvaluationRecord,
    GivenImagesRecord,
    Record,
    RecordError,
    RunRecord,
    Score,
    finished_record,
    read_record,
    write_record,
)

SCORE = {"value": 3.5, "std": None, "floor": 0.5, "protocol": "aaaa1111", "weights": "raw"}
OLD_RUN: dict[str, Any] = {  # every key of version 0.1, in its order
    "model": "vae", "network": "conv", "data": "digits",
    "scores": {"test/fid_reference": SCORE, "test/active_units": SCORE | {"value": 12}},
    "experiment": None, "seed": 0, "parameters": {"total": 3, "encoder": 1, "decoder": 2}, "images_seen": 1197,
    "epochs": 1, "seconds": 16.62, "peak_memory_bytes": 1024, "best_val_score": 11.9,
    "protocols": {"aaaa1111": {"data": "Digits", "num_fakes": 300}}, "classes": {"real": {"0": 1.0}},
    "kl_by_dimension": [0.5], "test": {"test/loss": 24.5}, "checkpoint_epoch": 1, "checkpoint": "checkpoints/best.ckpt",
}  # fmt: skip
OLD_EVALUATION: dict[str, Any] = {
    "scores": {"test/fid_reference": SCORE}, "protocols": {"aaaa1111": {}}, "kl_by_dimension": [0.5],
    "checkpoint": "checkpoints/best.ckpt", "images_seen": 1197, "checkpoint_epoch": 1, "test": {"test/loss": 24.5},
}  # fmt: skip
OLD_IMAGES: dict[str, Any] = {
    "model": "others", "network": None, "data": "digits", "seed": None, "images": "others.npz", "images_sha256": "ab",
    "num_images": 300, "scores": {"test/fid_reference": SCORE}, "protocols": {"aaaa1111": {}},
    "classes": {"real": {"0": 1.0}},
}  # fmt: skip
OLD_END: dict[str, Any] = {
    "status": "failed", "message": "no", "model": "gan", "network": "mlp", "data": "digits", "scores": "reference",
    "experiment": None, "seed": "abc",
}  # fmt: skip


def content_of(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    assert content.pop("checksum").startswith("crc32:")
    return content


@pytest.mark.parametrize(
    ("kind", "content"),
    [(RunRecord, OLD_RUN), (EvaluationRecord, OLD_EVALUATION), (GivenImagesRecord, OLD_IMAGES), (EndRecord, OLD_END)],
)
def test_a_file_of_the_first_version_is_written_again_but_for_its_checksum(
    kind: type[Record], content: dict, tmp_path: Path
):
    (tmp_path / "old.json").write_text(json.dumps(content, indent=2) + "\n")
    write_record(tmp_path / "new.json", read_record(tmp_path / "old.json", kind))
    text = (tmp_path / "new.json").read_text()
    checksum = json.loads(text)["checksum"]
    assert text == json.dumps(content | {"checksum": checksum}, indent=2) + "\n"
    write_record(tmp_path / "again.json", read_record(tmp_path / "new.json", kind))
    assert (tmp_path / "again.json").read_text() == text  # which has one checksum, of the same bytes


def test_a_key_of_a_later_version_is_kept(tmp_path: Path):
    (tmp_path / METRICS).write_text(json.dumps(OLD_RUN | {"energy": {"joules": 5}}))
    write_record(tmp_path / "again.json", read_record(tmp_path / METRICS, RunRecord))
    assert content_of(tmp_path / "again.json") == OLD_RUN | {"energy": {"joules": 5}}


def test_latents_are_written_where_they_are_known():
    written = [
        RunRecord(scores={"test/fid": Score(value=1, protocol="p", latents=latents)}).model_dump(exclude_unset=True)
        for latents in (None, "prior")
    ]
    assert [record["scores"]["test/fid"] for record in written] == [
        {"value": 1, "protocol": "p"},
        {"value": 1, "protocol": "p", "latents": "prior"},
    ]


def test_numbers_that_are_none_are_read_as_they_were_written(tmp_path: Path):
    scores = {"a": Score(value=math.nan, protocol="p"), "b": Score(value=-math.inf, protocol="p")}
    write_record(tmp_path / METRICS, RunRecord(scores=scores, seconds=math.inf))
    record = read_record(tmp_path / METRICS, RunRecord)
    assert math.isnan(record.scores["a"].value)
    assert (record.scores["b"].value, record.seconds) == (-math.inf, math.inf)


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Score(**SCORE).value = 1.0


def test_how_a_run_ended_is_kept_as_it_was_given(tmp_path: Path):
    write_record(tmp_path / STATUS, EndRecord(status="failed", message="no", model=7, seed=[1, 2], scores=None))
    assert content_of(tmp_path / STATUS) == {
        "status": "failed", "message": "no", "model": "7", "scores": None, "seed": "[1, 2]"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "m.json can't be read: .+"),
        ("[" * 100_000, "m.json can't be read: .+"),
        ("3", "m.json is no record"),
        ('{"message": "no"}', "m.json is incomplete: no status"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(content: str, problem: str, tmp_path: Path):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(RecordError, match=f"^{problem}$"):
        read_record(tmp_path / "m.json", EndRecord)


def test_a_run_is_finished_if_its_record_is_whole_and_it_has_no_other_end(tmp_path: Path):
    assert finished_record(tmp_path) is None
    (tmp_path / METRICS).write_text('{"scores": ')
    assert finished_record(tmp_path) is None
    (tmp_path / METRICS).write_text(json.dumps(OLD_RUN))
    assert finished_record(tmp_path) == RunRecord(**OLD_RUN)
    (tmp_path / STATUS).write_text("{")
    assert finished_record(tmp_path) is None

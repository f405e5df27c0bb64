"""metrics.csv: whole at every time, appended to without loss, and readable in part when it is damaged."""

from pathlib import Path

import pandas as pd
import pytest

from foundation import atomic
from jobs.resuming import readable_rows
from run_folder.curves import CurvesError, add_rows, read_rows
from trackers.csv_logger import CSVLogger

ROWS = [(10, {"a": 1.5}), (20, {"a": 2.5, "b": 1e-9}), (30, {"c": -1.0}), (40, {"a": 0.1})]


def test_rows_are_those_that_were_added_whatever_columns_come_later(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    for index, row in enumerate(ROWS):
        add_rows(path, [row], is_new=index == 0)
        assert read_rows(path) == ROWS[: index + 1]
    add_rows(path, ROWS[:1], is_new=True)
    assert read_rows(path) == ROWS[:1]


def test_table_is_plain_for_other_programs(tmp_path: Path):
    add_rows(tmp_path / "metrics.csv", ROWS, is_new=True)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["step"].tolist() == [10, 20, 30, 40] and table["a"].sum() == pytest.approx(4.1)
    assert list(table.columns[:4]) == ["a", "b", "c", "step"] and table[table.columns[4]].isna().all()


def test_earlier_part_of_a_run_is_there_until_the_history_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A kill while a run is resumed, before the new file is in its place, loses no row."""
    path = tmp_path / "metrics.csv"
    add_rows(path, ROWS, is_new=True)
    logger = CSVLogger(str(path))
    for step in range(99, 500, 100):  # where Lightning's own writes what it has
        logger.log_metrics({"a": 1.0}, step)
    assert read_rows(path) == ROWS

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            logger.save()
    assert read_rows(path) == ROWS
    logger.save()
    assert [step for step, _ in read_rows(path)] == list(range(99, 500, 100))
    logger.log_metrics({"b": 2.0}, 600)
    logger.finalize("success")
    assert read_rows(path)[-1] == (600, {"b": 2.0}) and len(read_rows(path)) == 6


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda whole: whole.replace(b"2.5", b"3.5"), 4),  # by the checksum alone
        (lambda whole: whole[:-12], 3),
        (lambda whole: whole.replace(b"20", b"2\xff"), 3),
        (lambda whole: whole.replace(b"-1.0", b"-x.0"), 3),
        (lambda whole: b"a,step\n1.0,10\nx,20\n", 1),  # of an earlier version: without a checksum
        (lambda whole: b"a,step\n1.0,10\n" + b'"' + 200_000 * b"x", 1),
        (lambda whole: b"", 0),
        (lambda whole: 100 * b"\0", 0),
    ],
)
def test_what_can_be_read_of_a_damaged_file_is_kept_and_a_copy_too(
    damage, kept: int, tmp_path: Path, capsys: pytest.CaptureFixture
):
    path = tmp_path / "metrics.csv"
    add_rows(path, ROWS, is_new=True)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(CurvesError, match=f"{path} is damaged: ."):
        read_rows(path)
    assert len(readable_rows(path, kept_in=tmp_path)) == kept
    assert (tmp_path / "damaged_metrics.csv").read_bytes() == damaged
    out = capsys.readouterr().out
    assert f"{path} is damaged: " in out and f"The {kept} rows that can be read are kept; a copy is {tmp_path}" in out


def test_no_file_has_no_rows(tmp_path: Path):
    assert read_rows(tmp_path / "metrics.csv") == []

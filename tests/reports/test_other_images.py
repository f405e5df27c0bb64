"""Runs on data of one name whose images are not the same are told."""

import json
from pathlib import Path

from reports.allowance import Allowance
from reports.data_sets import data_set_of
from reports.runs import FINISHED, Run
from run_folder.layout import DATA


def run_on(folder: Path, **splits: str) -> Run:
    folder.mkdir()
    if splits:
        held = {name: {"images": 3, "sha256": content} for name, content in splits.items()}
        (folder / DATA).write_text(json.dumps({"splits": held}))
    return Run(folder, folder.name, FINISHED, model="vae", data="folder", seed=0)


def test_runs_with_other_images_than_most_are_remarked(tmp_path: Path):
    usual = {"train": "a", "val": "b", "test": "c"}
    runs = [run_on(tmp_path / str(number), **usual) for number in range(2)]
    other = run_on(tmp_path / "other", train="x", val="b", test="y")
    unknown = run_on(tmp_path / "unknown")
    damaged = run_on(tmp_path / "damaged")
    (damaged.folder / DATA).write_text("{")
    data_set = data_set_of("folder", [*runs, other, unknown, damaged], Allowance(0))
    assert other.remarks == [f"its {split} images are not those of most runs on folder" for split in ("train", "test")]
    assert all(not run.remarks for run in (*runs, unknown, damaged))
    assert any("its train images are not those" in str(table.rows) for table in data_set.tables)


def test_runs_with_the_same_images_have_no_remark(tmp_path: Path):
    runs = [run_on(tmp_path / str(number), train="a", val="b", test="c") for number in range(3)]
    data_set_of("folder", runs, Allowance(0))
    assert not any(run.remarks for run in runs)

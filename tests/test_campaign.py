"""The campaign's short form loses nothing; and what would be lost is noticed."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign.parts import PARTS
from campaign.runs import Finished, LostError, check_equal, uninterrupted
from campaign.saves import save
from campaign.tally import Tally, table
from conftest import PROJECT

from run_folder.checkpoints import AtomicCheckpointIO, read_checkpoint
from run_folder.curves import add_rows, read_rows


@pytest.mark.slow
def test_short_campaign_loses_nothing(tmp_path: Path):
    out = tmp_path / "table.md"
    options = ["--scale", "short", "--soon", "30", "--out", str(out)]  # other tests run beside it
    command = [sys.executable, str(PROJECT / "tests" / "campaign"), *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.strip("| ").split(" | ") for line in out.read_text().splitlines() if line.startswith("| ")][1:]
    assert {part for part, *_ in rows} == {*PARTS}
    for part, what, tries, survived, lost in rows:
        assert tries == survived and lost == "0", (part, what)


def test_part_that_does_not_exist_is_refused(tmp_path: Path):
    command = [sys.executable, str(PROJECT / "tests" / "campaign"), "kil"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and "there is no part kil; choose of kill, save" in result.stderr


def test_table_counts_tries_and_tells_losses():
    tally, untried = Tally("save", "last.ckpt"), Tally("disk", "vae", not_tried="mounting is not allowed here")
    for loss in (None, "torn:\n 7 bytes", None):
        tally.add(loss)
    lines = table([tally, untried], {"save": 1.4}).splitlines()
    assert "| save | last.ckpt | 3 | 2 | 1 |" in lines
    assert "| disk | vae (not tried: mounting is not allowed here) | 0 | 0 | 0 |" in lines
    assert lines[-3:] == ["Time: save 1 s.", "", "* save, last.ckpt: torn: 7 bytes"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return uninterrupted("gan", tmp_path_factory.mktemp("whole") / "gan")


def doubled_row(run: Path) -> None:
    rows = read_rows(run / "metrics.csv")
    add_rows(run / "metrics.csv", rows[:3] + rows[2:], is_new=True)


def lost_row(run: Path) -> None:
    add_rows(run / "metrics.csv", read_rows(run / "metrics.csv")[:-3], is_new=True)


def another_weight(run: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    next(iter(checkpoint["state_dict"].values())).view(-1)[0] += 1e-7
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def another_moment(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = read_checkpoint(path)
    next(iter(checkpoint["optimizer_states"][1]["state"].values()))["exp_avg"].view(-1)[0] += 1e-7
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def orphan(run: Path) -> None:
    (run / "checkpoints" / ".last.ckpt.0123456789abcdef.partial").mkdir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (doubled_row, "metrics.csv is not as uninterrupted"),
        (lost_row, "metrics.csv is not as uninterrupted"),
        (another_weight, "last.ckpt state_dict is not"),
        (another_moment, "best.ckpt optimizer_states is not"),
        (orphan, "is left behind"),
        (lambda run: (run / "pictures" / "training.webp").unlink(), "pictures/training.webp is not"),
    ],
)
def test_whatever_a_run_could_lose_is_noticed(change: Callable, told: str, whole: Finished, tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    check_equal(run, whole.results)
    change(run)
    with pytest.raises(LostError, match=told):
        check_equal(run, whole.results)


def test_files_that_are_written_in_their_place_are_found_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without the temporary folder; something else lies beside them, as if a save were on."""

    def write_in_place(path: Path, write: Callable) -> None:
        (path.parent / "something").touch()
        write(path)

    for module in [name for name, loaded in sys.modules.items() if hasattr(loaded, "write_atomically")]:
        monkeypatch.setattr(f"{module}.write_atomically", write_in_place)
    tallies = save(60, random.Random(0), tmp_path)
    assert any("torn" in loss for tally in tallies for loss in tally.lost)

"""What a record says of the code and the machine that made its numbers."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from run_folder.provenance import commit_of, provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "train.py").write_text("1\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_has_its_commit_and_says_whether_it_was_changed(checkout: Path):
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "new.txt").write_text("what runs leave is no change of the code\n")
    assert commit_of(checkout) == (commit, False)
    (checkout / "train.py").write_text("2\n")
    assert commit_of(checkout) == (commit, True)


@pytest.mark.parametrize("new", ["networks/mine.py", "conf/network/mine.yaml"])
def test_a_file_of_code_that_is_in_no_commit_is_a_change(checkout: Path, new: str):
    (checkout / new).parent.mkdir(parents=True)
    (checkout / new).write_text("1\n")
    assert commit_of(checkout)[1] is True


def test_a_package_inside_another_checkout_has_no_commit(checkout: Path):
    installed = checkout / "environment" / "site-packages"
    installed.mkdir(parents=True)
    assert commit_of(installed) == (None, None)


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert commit_of(checkout) == (None, None)


def test_it_names_time_machine_and_libraries():
    record = provenance("cpu")
    assert record.date is not None
    assert datetime.now(UTC) - datetime.fromisoformat(record.date) < timedelta(minutes=1)
    assert record.device is not None and record.device.endswith("cores") and len(record.device) > 8
    assert record.threads == torch.get_num_threads()
    assert {"torch", "lightning", "torchmetrics"} <= record.libraries.keys()

"""Locks of folders: one holder at a time, however the one before has ended."""

import os
import signal
import subprocess
import sys
from errno import ENOLCK, ENOSPC
from pathlib import Path

import pytest
from conftest import PROJECT

from foundation import locks
from foundation.locks import LOCK, FolderLock, InUseError

HOLDS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from foundation.locks import FolderLock, InUseError
try:
    lock = FolderLock(Path(sys.argv[1]))
except InUseError:
    print("refused", flush=True)
else:
    print("held", flush=True)
    sys.stdin.read()
    lock.release()
"""


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder), str(PROJECT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_folder_has_one_holder_until_it_is_released(tmp_path: Path):
    lock = FolderLock(tmp_path)
    with pytest.raises(InUseError, match=f"^{tmp_path} is in use by another program .process {os.getpid()} on .+ sin"):
        FolderLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    again = FolderLock(tmp_path)
    lock.release()  # a second time: not that of the other
    with pytest.raises(InUseError):
        FolderLock(tmp_path)
    again.release()


def test_killed_process_keeps_no_folder(tmp_path: Path):
    with start(tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match=f"process {other.pid} on"):
            FolderLock(tmp_path)
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).is_file()
    FolderLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_of_processes_that_start_together_one_holds_the_folder(tmp_path: Path):
    for _ in range(3):
        racing = [start(tmp_path) for _ in range(4)]
        answers = [process.stdout.readline() for process in racing]
        assert sorted(answers) == ["held\n"] + 3 * ["refused\n"]
        for process in racing:
            process.communicate()


def test_lock_that_was_removed_by_its_holder_meanwhile_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, opened = FolderLock(tmp_path), locks._open

    def open_and_wait(path: Path):
        found = opened(path)
        first.release()  # between opening the file and locking it
        return found

    monkeypatch.setattr(locks, "_open", open_and_wait)
    second = FolderLock(tmp_path)
    assert (tmp_path / LOCK).is_file()
    with pytest.raises(InUseError):
        FolderLock(tmp_path)
    second.release()


def test_full_disk_keeps_no_lock_from_being_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_):
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "write", full)
        lock = FolderLock(tmp_path)
    with pytest.raises(InUseError, match=r"another program .which has just begun"):
        FolderLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_without_locks_of_the_file_system_creation_is_the_lock_and_the_remedy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_):
        raise OSError(ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    lock = FolderLock(tmp_path)
    with pytest.raises(InUseError, match=f"if that has ended, remove {tmp_path / LOCK}"):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()

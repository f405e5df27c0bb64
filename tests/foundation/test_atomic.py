"""Atomic writing: the old file or the new one, never a part, whoever else writes at the same time."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest
import torch
from conftest import PROJECT
from safetensors.torch import save_file

from foundation import atomic
from foundation.atomic import DiskFullError, write_atomically


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_file_is_written_into_folders_that_are_made(tmp_path: Path):
    write_atomically(tmp_path / "a" / "b" / "c.txt", lambda partial: partial.write_text("new"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["c.txt"]
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "new"


def test_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(partial: Path) -> None:
        partial.write_text("ne")
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_file_has_the_name_of_the_final_one_in_a_hidden_folder_beside_it(tmp_path: Path):
    seen = []
    write_atomically(tmp_path / "a.tar.gz", lambda partial: seen.append(partial) or partial.write_text("new"))
    assert seen[0].name == "a.tar.gz"
    assert seen[0].parent.parent == tmp_path
    assert seen[0].parent.name.startswith(".")  # what lists a folder's files passes over it


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path):
    path = tmp_path / "a.txt"

    def write_while_another_does(partial: Path) -> None:
        partial.write_text("first")
        write_atomically(path, lambda other: other.write_text("second"))
        assert path.read_text() == "second"
        assert partial.read_text() == "first"

    write_atomically(path, write_while_another_does)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_file_of_another_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda _: "same")
    seen = []
    write_atomically(tmp_path / "a.txt", lambda partial: seen.append(partial))
    seen[0].parent.mkdir()
    seen[0].write_text("another's")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a.txt", lambda partial: partial.write_text("mine"))
    assert seen[0].read_text() == "another's"


def test_file_has_the_mode_of_any_new_file_whoever_writes_it(umask: int, tmp_path: Path):
    write_atomically(tmp_path / "a.txt", lambda partial: partial.write_text("new"))
    write_atomically(tmp_path / "a.safetensors", lambda partial: save_file({"a": torch.ones(2)}, partial))
    for path in tmp_path.iterdir():
        assert S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_content_is_on_disk_before_the_old_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    path.write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        assert path.read_text() == "old"
        synced.append(os.pread(descriptor, 100, 0))

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    write_atomically(path, lambda partial: partial.write_text("new"))
    assert synced == [b"new"]


def full(code: int = errno.ENOSPC) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_named_and_the_old_file_kept(code: int, tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write(partial: Path) -> None:
        raise full(code)

    with pytest.raises(
        DiskFullError, match=rf"^{path}: no room is left on the disk /.* \(.* GB\).* is kept$"
    ) as caught:
        write_atomically(path, write)
    assert isinstance(caught.value, OSError) and caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_disk_without_room_for_a_temporary_folder_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def lock(folder: Path) -> None:
        raise full()

    monkeypatch.setattr(atomic, "FolderLock", lock)
    with pytest.raises(DiskFullError, match=rf"^{path}: no room is left on the disk .* is kept$"):
        write_atomically(path, lambda partial: partial.write_text("new"))
    assert path.read_text() == "old"


def test_file_that_can_t_be_written_is_named_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with monkeypatch.context() as patch, pytest.raises(PermissionError) as raised:
        patch.setattr(Path, "mkdir", lambda folder, *_, **__: refused(folder) if "partial" in folder.name else None)
        write_atomically(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert raised.value.filename == str(tmp_path / "a.txt")


def test_full_disk_has_the_room_again_of_a_file_that_its_writer_holds_open(tmp_path: Path):
    held = []

    def write(partial: Path) -> None:
        held.append(open(partial, "w+b"))  # noqa: SIM115, as torch's writer does until its traceback is gone
        held[0].write(b"x" * 10_000)
        held[0].flush()
        raise full()

    with pytest.raises(DiskFullError):
        write_atomically(tmp_path / "file.txt", write)
    assert os.fstat(held[0].fileno()).st_size == 0
    held[0].close()


def test_full_disk_is_found_behind_whatever_the_writer_says_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(partial: Path) -> None:
        raise RuntimeError("unexpected pos 832 vs 726")  # torch's word for it

    with pytest.raises(RuntimeError, match="unexpected pos"):  # on a disk with room it is something else
        write_atomically(tmp_path / "file.txt", write)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full()))
    with pytest.raises(DiskFullError) as caught:
        write_atomically(tmp_path / "file.txt", write)
    assert "unexpected pos" in str(caught.value.__cause__)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from foundation.atomic import write_atomically

def write(partial):
    partial.write_text("half")
    (partial.parent / "of_the_writer").write_text("its own temporary file")
    os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), write)
"""


def test_what_killed_writers_left_goes_with_the_next_file_and_what_is_being_written_stays(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", KILLED, str(path), str(PROJECT)]).returncode == -signal.SIGKILL
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2  # the second removed what the first left

    def write_while_another_does(partial: Path) -> None:
        partial.write_text("first")
        atomic.remove_orphans(tmp_path)
        assert partial.read_text() == "first"

    write_atomically(path, write_while_another_does)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_was_taken_for_an_orphan_before_it_was_locked_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    took: list[Path] = []

    class Late(atomic.FolderLock):
        def __init__(self, folder: Path) -> None:
            if not took:
                took.append(folder)
                shutil.rmtree(folder)
            super().__init__(folder)

    monkeypatch.setattr(atomic, "FolderLock", Late)
    write_atomically(tmp_path / "a.txt", lambda partial: partial.write_text("new"))
    assert (tmp_path / "a.txt").read_text() == "new" and took
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]

"""The benchmark of streaming removes what it has made, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

BENCHMARK = [sys.executable, str(PROJECT / "benchmarks" / "streaming.py")]
SMALL = ["--images", "20000", "--image-size", "32", "--seconds", "0.3", "--repeats", "1", "--workers", "0"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCHMARK, *arguments], capture_output=True, text=True)


@pytest.mark.slow
def test_a_folder_is_removed_only_if_the_benchmark_has_made_it(tmp_path: Path):
    (mine := tmp_path / "mine").mkdir()
    (mine / "thesis.txt").write_text("a thesis")
    refused = run(str(mine), *SMALL)
    assert refused.returncode == 1 and "error:" in refused.stderr and "thesis.txt" in refused.stderr
    assert (mine / "thesis.txt").read_text() == "a thesis"

    folder = tmp_path / "new"
    kept = run(str(folder), *SMALL, "--keep")
    assert kept.returncode == 0, kept.stderr
    assert (folder / "mapped.npy").is_file() and (folder / "shards").is_dir()
    few = run(str(tmp_path / "few"), *SMALL, "--images", "70", "--keep")
    assert few.returncode == 1 and "too few to time" in few.stderr and "Traceback" not in few.stderr
    others = run(str(folder), *SMALL, "--images", "2000")
    assert others.returncode == 1 and '"images": 20000' in others.stderr
    (folder / "notes.txt").touch()
    assert run(str(folder), *SMALL).returncode == 1
    (folder / "notes.txt").unlink()
    assert run(str(folder), *SMALL).returncode == 0
    assert not folder.exists()

"""Sweeps: one folder a job, named by its overrides, and memory that does not grow from job to job."""

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, SMALL_PICTURES

PROBE = """
import ctypes
import sys
from pathlib import Path
sys.path.insert(0, {project!r})
import train
from jobs.command_line import run
original = train.train
def resident():
    ctypes.CDLL(None).malloc_trim(0)  # what is free is no leak
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS")).split()[1])
sizes = []
def train_and_measure(cfg):
    sizes.append(resident())
    original(cfg)
train.train = train_and_measure
run(train.main)
print("RESIDENT", *sizes, resident())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by Linux's /proc")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator keeps what it likes")
def test_sweep_has_a_folder_a_job_and_its_memory_does_not_grow(tmp_path: Path):
    overrides = [
        "-m", "model=vae,gan", "seed=0,1,2,3,4", "network=mlp,conv", "trainer.max_epochs=1", "every_n_epochs=1",
        "data.batch_size=400", *SMALL_PICTURES, "hydra.sweep.dir=sweep",
        "~hydra.callbacks.sweep_report",  # its libraries would count as growth
    ]  # fmt: skip
    probe = PROBE.format(project=str(PROJECT))
    result = subprocess.run(
        [sys.executable, "-c", probe, *overrides], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    jobs = {
        path.parent.relative_to(tmp_path / "sweep").as_posix() for path in (tmp_path / "sweep").glob("*/*/metrics.json")
    }
    named = itertools.product(("vae", "gan"), ("mlp", "conv"), range(5))
    assert jobs == {f"{model}-{network}-digits/seed{seed}" for model, network, seed in named}
    sizes = [int(size) for size in result.stdout.split("RESIDENT")[1].split()]
    growth = (sizes[-1] - sizes[8]) / (len(sizes) - 9)  # the first jobs load libraries
    assert growth < 1000, f"{growth:.0f} KiB a job: {sizes}"

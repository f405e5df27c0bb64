"""Where the numbers of a record come from: code, libraries, machine and time."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .records import ProvenanceRecord

PROJECT = Path(__file__).parents[1]
LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics")


def provenance(device: torch.device | str) -> ProvenanceRecord:
    """Of a program that computes on this device now."""
    commit, changed = commit_of(PROJECT)
    return ProvenanceRecord(
        commit=commit,
        changed=changed,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        device=name_of(torch.device(device)),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        libraries={name: found for name in LIBRARIES if (found := version_of(name))},
    )


def commit_of(folder: Path) -> tuple[str | None, bool | None]:
    """The commit that a checkout is at, and whether its files differ from it; None and None: no checkout, or no git."""
    top = git(folder, "rev-parse", "--show-toplevel")
    commit = git(folder, "rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != folder.resolve():  # installed within another project
        return None, None
    changes = git(folder, "status", "--porcelain", "--untracked-files=no")
    added = git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py", "conf")
    return commit, None if changes is None or added is None else bool(changes or added)


def git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails, is not there or takes longer than a run would want to wait."""
    command = ["git", "-C", str(folder), *arguments]
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # a look that leaves nothing behind
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=environment)
    except (OSError, subprocess.SubprocessError, ValueError):  # the last: a path that is no text
        return None
    return ended.stdout.strip()


def name_of(device: torch.device) -> str:
    """The GPU's name, or the processor's with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def version_of(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None

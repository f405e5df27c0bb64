"""The README and its neighbours: every command is one that this project understands, every link leads somewhere."""

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from conftest import PROJECT, composed

from jobs.config_check import check
from jobs.given_images import complete

README = (PROJECT / "README.md").read_text().replace("$run", "run")
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    if language in ("", "bash")
    for line in block.replace("\\\n", " ").splitlines()
]
TRAIN = [command for command in COMMANDS if re.match(r"(uv run )?python train\.py", command)]
TRAIN += re.findall(r"`(python train\.py [^`…]*)`", README)
EVALUATE = [command for command in COMMANDS if command.startswith("python evaluate.py")]


def test_readme_opens_with_the_two_commands():
    printed = [command for command in COMMANDS if command.startswith("pip install")]
    assert printed == ["pip install -e . && python train.py", "pip install -e '.[dev]' && pytest"]
    result = subprocess.run(["bash", "-n", str(PROJECT / ".ci" / "run")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", TRAIN)
def test_printed_training_command_composes(command: str):
    overrides = [word for word in shlex.split(command.split("train.py")[1]) if "=" in word]
    for job in expand(overrides):
        check(composed(*[override for override in job if not override.startswith("hydra")]))


def expand(overrides: list[str]) -> list[list[str]]:
    """A sweep's jobs: the first and the last are enough."""
    first = [re.sub(r"^([^=\[]*=)([^,\[]*),.*", r"\1\2", override) for override in overrides]
    last = [re.sub(r"^([^=\[]*=)[^\[]*,([^,]*)$", r"\1\2", override) for override in overrides]
    return [first, last]


@pytest.mark.parametrize("command", EVALUATE)
def test_printed_evaluation_command_composes(command: str):
    cfg = composed(*shlex.split(command.split("evaluate.py")[1]), config="evaluate")
    if cfg.images:
        complete(cfg)
    check(cfg)


def test_printed_python_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(PROJECT)
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["halfway"].shape == names["again"].shape == names["images"].shape == (16, 1, 8, 8)


def test_printed_export_command_composes():
    (command,) = [command for command in COMMANDS if command.startswith("python export.py")]
    check(composed(*shlex.split(command.split("export.py")[1]), config="export"))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/explorer.md", "docs/scale.md"]
)
def test_links_and_pictures_of_a_page_exist(page: str):
    for target in re.findall(r"\]\(([^)#]+)\)", (PROJECT / page).read_text()):
        assert target.startswith("https://") or (PROJECT / page).parent.joinpath(target).exists(), target


def test_programs_print_their_help():
    for program in ("train.py", "evaluate.py", "explore.py", "export.py"):
        result = subprocess.run(
            [sys.executable, program, "--help"], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0 and "--hydra-help" in result.stdout, result.stderr

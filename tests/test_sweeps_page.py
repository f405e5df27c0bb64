"""docs/sweeps.md: what it prints is understood, and its links lead somewhere."""

import re
import shlex

import pytest
from conftest import PROJECT, composed

from jobs.config_check import check
from jobs.override_check import check_overrides
from jobs.sweep_jobs import has_several_values

PAGE = (PROJECT / "docs" / "sweeps.md").read_text()
COMMANDS = [
    line.split(" # ")[0].strip()
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_printed_command_composes(command: str):
    python, program, *arguments = shlex.split(command)
    assert (python, program) == ("python", "train.py")
    check_overrides(arguments)
    given = [argument for argument in arguments if argument != "-m"]
    check(composed(*(argument for argument in given if not has_several_values(argument))))


def test_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (PROJECT / "docs" / target).exists(), target

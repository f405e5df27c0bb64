"""What is printed ends no program, whoever reads it."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

PRINTING = f"""
import sys
sys.path.insert(0, {str(PROJECT)!r})
from foundation.printing import print_anywhere
print_anywhere()
print_anywhere()
for _ in range(2000):
    print("a line …" * 20, flush=True)
    print("another" * 20, file=sys.stderr)
"""


def ended(script: str, redirection: str, folder: Path, env: dict[str, str]) -> str:
    """What a program says once it has come to its end, by another way than its output."""
    script += "\nopen('ended', 'w').write('so')"
    command = f'{sys.executable} -c "$SCRIPT" {redirection}; cat ended'
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, env={"SCRIPT": script, **env}
    )
    return result.stdout.splitlines()[-1] if result.stdout else result.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirection", ["2>&1 | head -1", "2>&1 >/dev/null | head -1", "2>&-", ">&-", ">&- 2>&-"])
def test_program_whose_output_nobody_reads_goes_on(redirection: str, unbuffered: str, tmp_path: Path):
    assert ended(PRINTING, redirection, tmp_path, {"PYTHONUNBUFFERED": unbuffered}) == "so"


def test_sign_that_the_encoding_lacks_is_a_question_mark():
    command = [sys.executable, "-c", PRINTING]
    result = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert result.returncode == 0 and result.stdout.splitlines()[0] == b"a line ?" * 20
    assert len(result.stdout.splitlines()) == 2000 and len(result.stderr.splitlines()) == 2000

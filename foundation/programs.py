"""How the programs are begun: from a checkout, or as an installation calls them."""

import shlex
import sys
from pathlib import Path

INSTALLED = "vae-gan-"  # what the names of installed programs begin with (pyproject.toml)


def program(name: str) -> list[str]:
    """The words that a command of a program begins with, as this one was begun: python train.py, or vae-gan-train."""
    called = Path(sys.argv[0]).stem  # on Windows with an ending
    return [f"{INSTALLED}{name}"] if called.startswith(INSTALLED) else ["python", f"{name}.py"]


def this_command() -> str:
    """The command that began this program, as one gives it again."""
    called = Path(sys.argv[0]).stem
    return shlex.join([*([called] if called.startswith(INSTALLED) else ["python", sys.argv[0]]), *sys.argv[1:]])

"""How the programs are begun: from a checkout, or as an installation calls them."""

import shlex
import sys
from pathlib import Path

from .secrets import without_passwords

INSTALLED = "vae-gan-"  # what the names of installed programs begin with (pyproject.toml)


def program(name: str) -> list[str]:
    """The words that a command of a program begins with, as this one was begun: python train.py, or vae-gan-train."""
    called = Path(sys.argv[0]).stem  # on Windows with an ending
    return [f"{INSTALLED}{name}"] if called.startswith(INSTALLED) else ["python", f"{name}.py"]


def this_command() -> str:
    """The command that began this program, as one gives it again, but for passwords."""
    called = Path(sys.argv[0]).stem
    words = [*([called] if called.startswith(INSTALLED) else ["python", sys.argv[0]]), *sys.argv[1:]]
    return shlex.join(map(without_passwords, words))

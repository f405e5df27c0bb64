"""How the programs are begun, from a checkout or as an installation calls them, and what they are given, as typed."""

import re
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
    return shlex.join(map(without_passwords, [*this_program(), *sys.argv[1:]]))


def this_program() -> list[str]:
    """The words that this program was begun with, before what it was given."""
    called = Path(sys.argv[0]).stem
    return [called] if called.startswith(INSTALLED) else ["python", sys.argv[0]]


def typed(name: str, path: Path | str) -> str:
    """`name=path` as one types it in a shell: what is printed for copying."""
    return shlex.quote(override(name, path))


def override(name: str, path: Path | str) -> str:
    """`name=path` as Hydra reads it."""
    return f"{name}={quoted(str(path))}"


def quoted(path: str) -> str:
    """A path as Hydra reads it: one of more than letters, digits and plain signs is put in quotes."""
    if re.fullmatch(r"[\w./:@%+-]+", path, re.ASCII):
        return path
    # A backslash escapes nothing but quotes and, before these, itself.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), path)
    return f"'{escaped}'"

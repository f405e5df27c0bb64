"""The page of every command: what its --help prints."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
HELP = PROJECT / "conf" / "hydra" / "help"
OPENING = """---
hide:
  - toc
---

# Commands

Each is a file of the checkout (`python train.py …`) and a program of the installation (`vae-gan-train …`). The texts
below are those that `--help` prints. [Every key](config.md) that the commands take is on a page of its own.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([OPENING, *(line for path in programs() for line in section(path))]).rstrip() + "\n"


def programs() -> list[Path]:
    """train.py first, for it is where one begins."""
    return sorted(PROJECT.glob("*.py"), key=lambda path: (path.stem != "train", path.stem))


def section(path: Path) -> Iterator[str]:
    description = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    yield f"## {path.name}\n"
    yield f"{description.splitlines()[0]} As a program: `vae-gan-{path.stem}`.\n"
    yield f"```text\n{help_of(path)}\n```\n"


def help_of(path: Path) -> str:
    template = HELP / f"{path.stem}.yaml"
    if template.is_file():
        text = yaml.safe_load(template.read_text(encoding="utf-8"))["template"].rstrip()
        return re.sub(r"^\$CONFIG$", f"(on the page of every key: Of {path.name})", text, flags=re.MULTILINE)
    printed = subprocess.run(
        [sys.executable, path, "--help"],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=True,
        env={**os.environ, "COLUMNS": "110"},
    )
    return printed.stdout.rstrip()

"""Where trackers that keep their runs on this disk keep them."""

import os
from pathlib import Path

from run_folder.layout import sweep_of


def store_of(folder: Path) -> Path:
    """The folder of the sweep that a run is part of, whose runs are compared there; else the run's own."""
    folder = folder.resolve()
    return sweep_of(folder) or folder


def shown(path: Path) -> str:
    """A path as one types it here."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)

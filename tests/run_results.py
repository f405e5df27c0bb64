"""What a run has left in its folder, as tests compare it."""

import json
from pathlib import Path
from typing import Any

import torch

from run_folder.curves import read_rows


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]


def curves(run: Path) -> list[tuple[int, dict[str, float]]]:
    """What training and val left in the table, without the time it took."""
    rows = [(x, {key: y for key, y in row.items() if key != "seconds"}) for x, row in read_rows(run / "metrics.csv")]
    return [(x, row) for x, row in rows if not any(key.startswith("test/") for key in row)]

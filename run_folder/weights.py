"""weights.safetensors: a trained model's weights alone, in half precision, as they are shared."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foundation.atomic import write_atomically
from foundation.checksums import CHECKSUM, PLACE, seal

AVERAGES, AVERAGED = "averages.", ".module."  # averages.<network>.module.<weight> follows <network>.<weight>
LARGEST_HALF = torch.finfo(torch.float16).max


def write_weights(state_dict: dict[str, Tensor], facts: dict[str, Any], path: Path) -> None:
    """Write a model's weights without those that averages follow, which are for training alone.

    Floats are rounded to half precision, where they are in its range. `facts` (plain values) go into the file's header.
    """
    followed = {followed_by(name) for name in state_dict}
    kept = {name: halved(weight).contiguous() for name, weight in state_dict.items() if name not in followed}
    header = {name: json.dumps(value) for name, value in facts.items()} | {CHECKSUM: PLACE}

    def write(partial: Path) -> None:
        save_file(kept, partial, metadata=header)
        seal(partial)

    write_atomically(path, write)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the facts of a file; weights that averages follow become equal to these. Raises ValueError."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            facts = {name: json.loads(value) for name, value in metadata.items() if name != CHECKSUM}
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(str(error)) from error
    weights = {name: weight.float() if weight.is_floating_point() else weight for name, weight in stored.items()}
    copies = {followed_by(name): weight.clone() for name, weight in weights.items()}
    return {name: weight for name, weight in copies.items() if name is not None} | weights, facts


def followed_by(name: str) -> str | None:
    """The weight that an average follows; None: this is no average."""
    if not name.startswith(AVERAGES):
        return None
    network, found, weight = name.removeprefix(AVERAGES).partition(AVERAGED)
    return f"{network}.{weight}" if found else None


def halved(weight: Tensor) -> Tensor:
    fits = weight.is_floating_point() and bool((weight[weight.isfinite()].abs() <= LARGEST_HALF).all())
    return weight.half() if fits else weight

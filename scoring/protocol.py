"""The protocol of a score: everything that two numbers must share to stand in one column."""

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from datamodules.content import content_hash as content_hash

Protocol = dict[str, Any]
# For the reader alone: the hashes of images and weights beside them decide.
SAID_BESIDES = ("data", "num_real", "num_train", "num_images", "num_features")


def short_hash(protocol: Protocol) -> str:
    """Eight hexadecimal digits that are the same for the same protocol, on any machine."""
    return hashlib.sha256(deciding(protocol).encode()).hexdigest()[:8]


def deciding(protocol: Protocol) -> str:
    """What in a protocol can move a number, in JSON."""
    return json.dumps({key: value for key, value in protocol.items() if key not in SAID_BESIDES}, sort_keys=True)


def chosen_indices(total: int, count: int | None, seed: int) -> Tensor:
    """`count` of `total` indices, or all of them, in an order that `seed` draws, on the CPU."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]

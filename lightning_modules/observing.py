"""Looking at a model without changing it: evaluation mode, no gradients, and a randomness of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import LightningModule


@contextmanager
def observing(model: LightningModule, seed: int) -> Iterator[None]:
    """Inside, draws depend on `seed` alone; afterwards mode and global generators are as they were."""
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)

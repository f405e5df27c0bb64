"""Looking at a model without changing it: evaluation mode, no gradients, and a randomness of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning import LightningModule


@contextmanager
def observing(model: LightningModule, seed: int) -> Iterator[None]:
    """Inside, draws depend on `seed` alone; afterwards mode and global generators are as they were."""
    was_training = model.training
    with drawing_from(seed, model.device), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


@contextmanager
def drawing_from(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, what is drawn on the CPU and on this device depends on `seed` alone; the global generators stay."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, which then stay so
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield

"""A split as batches for a model, outside of Lightning's loops."""

from collections.abc import Iterator

import torch
from torch import Tensor

from datamodules.image_datamodule import LabelledImages
from datamodules.pixels import to_unit_range
from lightning_modules.values import Batch


def batches_of(data: LabelledImages, size: int, device: torch.device, order: Tensor | None = None) -> Iterator[Batch]:
    """Images with their labels, in the given order of indices or their own: float32 in [0, 1], on the device."""
    rows_in_order = torch.arange(len(data.images)) if order is None else order
    for rows in rows_in_order.split(size):
        yield Batch(to_unit_range(data.images[rows].to(device)), data.labels[rows].to(device))

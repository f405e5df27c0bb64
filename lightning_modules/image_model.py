"""What every model here shares: an image shape, named networks, and a clock that counts images."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from foundation.errors import UserError

from .terms import Terms


class ImageModel(LightningModule, ABC):
    """A LightningModule over images (C, H, W) whose clock is `images_seen`, kept in its checkpoints.

    Training, validation and test steps return their terms as a dict of scalars; callbacks log them.
    """

    schedule_spans_run = False  # whether learning rates depend on how long the run is, so that it can't be prolonged
    optimizers_period = 1  # batches in which every optimizer steps at least once

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        self.images_seen = 0  # training images consumed so far, over all devices and epochs
        self.restored_epoch = 0  # the epoch, counted from 1, of the checkpoint that was loaded last
        self.has_graphs = False  # whether steps replay CUDA graphs

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The trained networks by role, as parameter counts and gradient norms name them."""

    @property
    def terms(self) -> Terms:
        """What is known of the terms that steps return, for their curves."""
        return {}

    def gradient_terms(self) -> dict[str, Tensor]:
        """Terms of the gradients that are now there, besides those of parameters: computed where somebody looks.

        Asked before an optimizer's step, when the gradients of its backward pass are there.
        """
        return {}

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises UserError: what a model was built of is in its run's config, and not in a checkpoint."""
        path = Path(str(checkpoint_path))  # <run folder>/checkpoints/<name>
        raise UserError(
            f"{cls.__name__}.load_from_checkpoint: {path} has the weights alone, and what they belong to is in the "
            "config of its run's folder. Load that: from evaluate import load_run; "
            f"load_run({str(path.parent.parent)!r}, checkpoint={path.name!r}).module"
        )

    def compile_networks(self) -> None:
        """Compile the networks in place: names in checkpoints stay. On GPUs their kernels become CUDA graphs."""
        for network in self.networks.values():
            network.compile(mode="reduce-overhead")
        self.has_graphs = torch.cuda.is_available()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.has_graphs:
            torch.compiler.cudagraph_mark_step_begin()  # what the last step's graphs gave may be overwritten now
        self.images_seen += images_of_step(self.trainer, batch, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.world_size > 1 and self.trainer.is_last_batch:
            for buffer in self.buffers():  # a batch norm's statistics are each process's own since the step began
                dist.broadcast(buffer, src=0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["images_seen"] = self.images_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.images_seen = checkpoint["images_seen"]
        self.restored_epoch = checkpoint["epoch"] + 1


def images_of_step(trainer: Trainer, batch: Any, batch_idx: int) -> int:
    """How many images all processes see in a step, the same number in each of them.

    A loader whose last batch may be smaller in some processes knows the sizes of the first one's batches.
    """
    sizes = getattr(trainer.train_dataloader, "sizes", None) if trainer.world_size > 1 else None
    return (len(batch[0]) if sizes is None else int(sizes[batch_idx])) * trainer.world_size

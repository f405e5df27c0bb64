"""Whether every batch of a run can be computed: found before the first of them, not at the last."""

from math import ceil

from lightning import Trainer
from torch.nn.modules.batchnorm import _BatchNorm

from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from lightning_modules.image_model import ImageModel
from lightning_modules.networks.mlp import OnePixel


def check_batches(trainer: Trainer, model: ImageModel, datamodule: ImageDataModule) -> None:
    """Raise ConfigError if val or test would be left without a batch, or a batch norm with one number alone.

    The data must have been read.
    """
    for split, limit in (("val", trainer.limit_val_batches), ("test", trainer.limit_test_batches)):
        batches = ceil(images_of(split, trainer, datamodule) / datamodule.batch_size)
        if used(limit, batches) == 0:
            raise ConfigError(
                f"trainer.limit_{split}_batches: {limit:g} of {batches} batches is none, and {split} needs one at "
                "least; choose a larger share"
            )
    count, size = images_of("train", trainer, datamodule), datamodule.batch_size
    batches = ceil(count / size)
    is_reached = used(trainer.limit_train_batches, batches) == batches
    last = count - (batches - 1) * size if is_reached else size
    if last == 1 and has_norm_over_batch(model):
        raise ConfigError(
            f"data.batch_size: with {size}, the last batch of an epoch has one of the {count:,} training images, and "
            "a batch norm behind a linear layer needs two; choose another size, or network/norm@…=group"
        )


def images_of(split: str, trainer: Trainer, datamodule: ImageDataModule) -> int:
    """How many of a split's images the first process sees."""
    return ceil(datamodule.num_images(split) / trainer.world_size)


def used(limit: int | float, batches: int) -> int:
    """How many of a split's batches a limit leaves, as Lightning reads it: a number of them, or a share."""
    return min(limit, batches) if isinstance(limit, int) else int(limit * batches)


def has_norm_over_batch(model: ImageModel) -> bool:
    """Whether a batch norm of the model sees one number of a channel from each image."""
    return any(isinstance(part, OnePixel) and isinstance(part.norm, _BatchNorm) for part in model.modules())

"""Pictures to all loggers that take some."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image

from .tracker import Tracker


def log_picture(loggers: Iterable[Logger], name: str, path: Path, images_seen: int) -> None:
    """Hand a picture that lies in a file to each tracker, and to Lightning's TensorBoard of other projects."""
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.log_picture(name, path, images_seen)
        elif isinstance(logger, TensorBoardLogger):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels, images_seen, dataformats="HWC")

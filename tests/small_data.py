"""Small data sets in the formats of the real ones, for tests: the same folders and files, a few random images each."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.imagenette import CLASSES, FOLDER
from datamodules.mnist import MNIST, MNISTFormat

# What the data modules do besides: nothing.
PLAIN: dict[str, Any] = {"device": "auto", "horizontal_flip": False, "binarize": False}
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format of MNIST's files."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_mnist_format(
    raw: Path, num_trainval: int = 60, num_test: int = 20, shipped: type[MNISTFormat] = MNIST
) -> dict[str, np.ndarray]:
    """Write four files of random images and their labels into a new folder; returns their content by file name.

    Their sizes, classes and names are those of a shipped data set.
    """
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    contents = {}
    for prefix, count in zip(shipped.file_prefixes, (num_trainval, num_test), strict=True):
        size = (count, *shipped.image_shape[1:])
        contents[f"{prefix}-images-idx3-ubyte"] = generator.integers(0, 256, size, dtype=np.uint8)
        labels = np.arange(count) % len(shipped.class_names) + shipped.first_label
        contents[f"{prefix}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    for name, array in contents.items():
        (raw / name).write_bytes(idx(array))
    return contents


def small(shipped: type[MNISTFormat], raw: Path) -> type[MNISTFormat]:
    """The data module with the counts that `write_mnist_format` writes, and with the md5 of what is in the folder."""
    sums = {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in shipped.raw_md5}
    facts = {"name": raw.parent.name, "num_trainval": 60, "num_val": 10, "num_test": 20, "raw_md5": sums}
    return type(f"Small{shipped.__name__}", (shipped,), facts)


def write_imagenette(root: Path, num_train: int = 3, num_val: int = 2) -> Path:
    """Write a few random JPEGs of every class into torchvision's folders, the first of each class grey."""
    generator = np.random.default_rng(0)
    for split, count in (("train", num_train), ("val", num_val)):
        for wordnet_id in CLASSES:
            folder = root / FOLDER / split / wordnet_id
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                image = Image.fromarray(pixels)
                image = image.convert("L") if number == 0 else image
                image.save(folder / f"{number}.JPEG", quality=95)
    return root


def write_image(path: Path, number: int, mode: str = "RGB") -> None:
    """Write an image of random pixels that are `number`'s own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def write_images(root: Path, folders: Sequence[str], count: int) -> Path:
    """Write `count` images into each sub-folder, all of them different."""
    for order, name in enumerate(folders):
        for number in range(count):
            write_image(root / name / f"{number}.png", order * count + number)
    return root

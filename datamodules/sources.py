"""What images can be prepared from: a folder of files, a data set of torchvision, or one of Hugging Face.

Each says which image belongs to which split, by the same rules, and reads one at a time.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from foundation.errors import ConfigError
from foundation.extras import require

from .decoding import Colour, as_seen, decode_file, squared
from .folder_splits import SPLITS, Names, SplitFiles, hold_out_files, share_held_out, split_files
from .image_datamodule import DataError
from .image_files import hash_of_files, passed_over

OF_PREPARATION = Names("images", "num_val", "num_test")  # what prepare.py calls them

TORCHVISION, HUGGING_FACE = "torchvision:", "huggingface:"


class Source(ABC):
    """Images in three splits, each known by a key: a path, or a split's name and a number."""

    title: str  # where the images are, in words

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""

    @property
    @abstractmethod
    def splits(self) -> dict[str, list[str]]:
        """The keys of train, val and test. Raises DataError."""

    @property
    @abstractmethod
    def origins(self) -> dict[str, str]:
        """By split: where its images come from, in words."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What changes with the images, as far as that is known without reading them."""

    @property
    def passed_over(self) -> str:
        return ""

    @abstractmethod
    def read(self, key: str) -> tuple[Tensor, int]:
        """One image, uint8 (C, size, size), and its label. Raises DataError."""


class FolderSource(Source):
    """Files of any folder, in the splits and classes that data=folder finds there."""

    def __init__(
        self,
        root: Path,
        image_size: int,
        channels: int,
        background: Colour,
        num_val: int | None,
        num_test: int | None,
        split_seed: int,
    ) -> None:
        self.root, self.title = root, str(root)
        self._size, self._channels, self._background = image_size, channels, background
        self._asked = num_val, num_test, split_seed

    @cached_property
    def files(self) -> SplitFiles:
        return split_files(self.root, *self._asked, OF_PREPARATION)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        return self.files.class_names

    @cached_property
    def _labels(self) -> dict[str, int]:
        return {name: label for label, name in enumerate(self.class_names)}

    @property
    def splits(self) -> dict[str, list[str]]:
        return {"train": self.files.train, "val": self.files.val, "test": self.files.test}

    @property
    def origins(self) -> dict[str, str]:
        return self.files.origins

    @cached_property
    def fingerprint(self) -> str:
        return hash_of_files(self.root, [path for paths in self.splits.values() for path in sorted(paths)], ())

    @property
    def passed_over(self) -> str:
        return passed_over(self.files.passed_over)

    def read(self, key: str) -> tuple[Tensor, int]:
        image = decode_file(os.path.join(self.root, key), self._size, self._channels, self._background)
        return image, self._labels[self.files.class_of(key)]


class DatasetSource(Source):
    """Data sets of other libraries: sequences of images and labels, one for each of their own splits."""

    def __init__(
        self,
        title: str,
        parts: dict[str, Any],
        class_names: Sequence[str],
        item: Callable[[Any], tuple[Image.Image, int]],
        image_size: int,
        channels: int,
        background: Colour,
        num_val: int | None,
        num_test: int | None,
        split_seed: int,
    ) -> None:
        """`parts`: by the library's name of a split, train among them. `item` makes an image and a label of one."""
        self.title, self._parts, self._item = title, parts, item
        self._class_names = tuple(class_names)
        self._size, self._channels, self._background = image_size, channels, background
        self._num_val, self._num_test, self._seed = num_val, num_test, split_seed

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._class_names

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        given = official_splits(self.title, self._parts)
        found = {
            split: [f"{name}/{number}" for number in range(len(self._parts[name]))] for split, name in given.items()
        }
        train, share = found["train"], share_held_out(len(found["train"]))
        for split, count in (("test", self._num_test), ("val", self._num_val)):
            if split in found:
                if count not in (None, len(found[split])):
                    raise DataError(f"num_{split}: {count} are asked for, and {self.title} has {len(found[split]):,}")
                continue
            found[split], train = hold_out_files(train, count, share, f"{self._seed} {split}")
            share /= 1 - share
        if not train:
            raise DataError(f"{self.title} has too few images to hold some out and have some left to learn from")
        return {**found, "train": train}

    @property
    def origins(self) -> dict[str, str]:
        given = official_splits(self.title, self._parts)
        drawn = f"drawn from {given['train']} by split_seed={self._seed}"
        return {split: given.get(split, drawn) for split in ("train", "val", "test")}

    @property
    def fingerprint(self) -> str:
        return repr({name: len(part) for name, part in self._parts.items()})

    def read(self, key: str) -> tuple[Tensor, int]:
        name, _, number = key.rpartition("/")
        try:
            image, label = self._item(self._parts[name][int(number)])
            seen = as_seen(image, self._channels, self._background)
        except Exception as error:  # Pillow's, and those of the libraries
            raise DataError(f"{self.title}: image {number} of {name} can't be read ({error})") from error
        return squared(seen, self._size), label


def official_splits(title: str, names: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """A library's names of splits, by what they are here; as in a folder, val is test where there is no test."""
    given = {SPLITS[name.lower()]: name for name in names if name.lower() in SPLITS}
    if "train" not in given:
        raise DataError(f"{title} has no split called train; it has {', '.join(names)}")
    if "test" not in given and "val" in given:
        given["test"] = given.pop("val")
    return given


def source_of(
    images: str,
    root: Path,
    image_size: int,
    channels: int,
    background: Colour,
    num_val: int | None,
    num_test: int | None,
    split_seed: int,
) -> Source:
    """What `images=` names. Raises ConfigError or DataError."""
    how = (image_size, channels, background, num_val, num_test, split_seed)
    if images.startswith(TORCHVISION):
        parts, names, item = _torchvision(images.removeprefix(TORCHVISION), root)
        return DatasetSource(images, parts, names, item, *how)
    if images.startswith(HUGGING_FACE):
        parts, names, item = _hugging_face(images.removeprefix(HUGGING_FACE))
        return DatasetSource(images, parts, names, item, *how)
    return FolderSource(Path(images).expanduser().absolute(), *how)


def _torchvision(name: str, root: Path) -> tuple[dict[str, Any], Sequence[str], Any]:
    """A data set of torchvision that is in `root`, or is downloaded to there where that is offered."""
    import inspect

    from torchvision import datasets

    kind = getattr(datasets, name, None)
    taken = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    if not inspect.isclass(kind) or not issubclass(kind, datasets.VisionDataset) or not {"train", "split"} & set(taken):
        raise ConfigError(
            f"images: torchvision:{name} is no data set of images with splits. It has, among others: "
            "MNIST, FashionMNIST, CIFAR10, CIFAR100, SVHN, STL10, Food101, Flowers102"
        )
    if "train" in taken:
        asked: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
    else:
        asked = {split: {"split": split} for split in ("train", "val", "test")}
    parts: dict[str, Any] = {}
    for split, arguments in asked.items():
        try:
            parts[split] = _built(kind, root, arguments, "download" in taken)
        except ValueError as error:  # it has no such split
            if split != "val":
                raise DataError(f"images: torchvision:{name} has no {split} split ({error})") from error
        except Exception as error:  # of many kinds
            raise DataError(f"images: torchvision:{name} is not in {root} and can't be fetched ({error})") from error
    labels = max(int(parts[split][index][1]) for split in parts for index in _few(len(parts[split])))
    names = getattr(parts["train"], "classes", None) or [str(label) for label in range(labels + 1)]
    return parts, [str(one) for one in names], lambda item: (item[0], int(item[1]))


def _few(count: int) -> range:
    return range(0, count, max(1, count // 1000))


def _built(kind: Any, root: Path, arguments: dict[str, Any], downloads: bool) -> Any:
    try:
        return kind(str(root), **arguments)
    except RuntimeError:  # what torchvision raises of missing files
        if not downloads:
            raise
        return kind(str(root), **arguments, download=True)


def _hugging_face(name: str) -> tuple[dict[str, Any], Sequence[str], Any]:
    """A data set in a local folder, of `save_to_disk` or of Parquet or image files, or else of the hub."""
    require("images=huggingface:", "huggingface", "datasets")
    import datasets

    try:
        folder = Path(name).expanduser()
        is_saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
        loaded = datasets.load_from_disk(str(folder)) if is_saved else datasets.load_dataset(name)
    except Exception as error:  # of many kinds
        raise DataError(f"images: huggingface:{name} can't be read ({error})") from error
    parts = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
    features = next(iter(parts.values())).features
    of_image = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    of_label = [key for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not of_image:
        raise DataError(f"images: huggingface:{name} has no column of images; it has {', '.join(features)}")
    if not of_label:
        return parts, ["images"], lambda item: (item[of_image[0]], 0)
    return parts, features[of_label[0]].names, lambda item: (item[of_image[0]], int(item[of_label[0]]))

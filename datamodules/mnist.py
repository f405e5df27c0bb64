"""MNIST and the data sets in its format: torchvision's folders and downloads, every file checked before it is used."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torchvision import datasets

from foundation.ranges import Seed, Size

from .idx import REMEDY, read_idx
from .image_datamodule import DataError, ImageDataModule, LabelledImages


class MNISTFormat(ImageDataModule):
    """Grey images from four IDX files in `<root>/<name>/raw`; by default 55,000 / 5,000 / 10,000 of 28x28.

    A data set states its `class_names`, and whatever else differs from the facts below.
    """

    dataset: type[datasets.MNIST] | None = None  # torchvision's class, which downloads; None: the files must be there
    name: str | None = None  # of the folder; None: the class's own
    image_shape = (1, 28, 28)
    num_trainval = 60_000
    num_val = 5_000
    num_test = 10_000
    file_prefixes = ("train", "t10k")  # what the names of the files begin with, of train and of test
    first_label = 0
    raw_md5: Mapping[str, str] = {}  # by file name, where they are known

    def __init__(
        self,
        root: str,
        batch_size: Size,
        seed: Seed,
        split_seed: Seed,
        device: Literal["auto", "cpu"],
        horizontal_flip: bool,
        binarize: bool,
    ) -> None:
        super().__init__(batch_size, seed, split_seed, device, horizontal_flip, binarize)
        self.root = Path(root).expanduser()

    @property
    def folder(self) -> Path:
        return self.root / self.folder_name

    @property
    def folder_name(self) -> str:
        return self.name or (self.dataset or type(self)).__name__

    @property
    def source(self) -> str:
        return str(self.folder)

    @property
    def cache_folders(self) -> list[Path]:
        return [self.folder / "cache", *super().cache_folders]

    def prepare_data(self) -> None:
        """Download what is missing and check every file. Raises DataError."""
        if self._missing_files():
            self._download()
        self.read()
        for name, expected in self.raw_md5.items():
            path = self._path(name)
            found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            if found != expected:
                raise DataError(f"{path} is damaged: its md5 is {found}, expected {expected}. {REMEDY}")

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        train, test = self.file_prefixes
        return self._read(train, self.num_trainval), self._read(test, self.num_test)

    def _read(self, prefix: str, count: int) -> LabelledImages:
        images = read_idx(self._path(images_file(prefix)), (count, *self.image_shape[1:]))
        labels = read_idx(self._path(labels_file(prefix)), (count,)).long()
        lowest, highest = self.first_label, self.first_label + self.num_classes - 1
        if labels.min() < lowest or labels.max() > highest:
            wrong = labels.max() if labels.max() > highest else labels.min()
            raise DataError(
                f"{self._path(labels_file(prefix))} has the label {wrong}, expected {lowest} to {highest}. {REMEDY}"
            )
        return LabelledImages(images.unsqueeze(1), labels - self.first_label)

    def _path(self, name: str) -> Path:
        return self.folder / "raw" / name

    def _missing_files(self) -> list[str]:
        names = [file_name(prefix) for prefix in self.file_prefixes for file_name in (images_file, labels_file)]
        return [name for name in names if not self._path(name).is_file()]

    def _download(self) -> None:
        failure: Exception | str = "it is from nowhere to be downloaded"
        if self.dataset is not None:
            try:
                self.dataset(str(self.root), download=True)
                failure = "the download fetched nothing"
            except Exception as error:  # also of many kinds from reading the files, which are checked better afterwards
                failure = error
        if missing := self._missing_files():
            raise DataError(
                f"{self.folder_name}: {self.folder / 'raw'} lacks {', '.join(missing)} (download: {failure}). Set "
                f"data.root= to a folder that has {self.folder_name}/raw with the four files, or run with a network."
            ) from (failure if isinstance(failure, Exception) else None)


class MNIST(MNISTFormat):
    """Handwritten digits (LeCun et al. 1998)."""

    dataset = datasets.MNIST
    class_names = tuple("0123456789")
    raw_md5: Mapping[str, str] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }


class FashionMNIST(MNISTFormat):
    """Photographs of clothes (Xiao et al. 2017)."""

    dataset = datasets.FashionMNIST
    class_names = tuple(datasets.FashionMNIST.classes)


class KMNIST(MNISTFormat):
    """Handwritten Japanese characters, one for each row of hiragana (Clanuwat et al. 2018)."""

    dataset = datasets.KMNIST
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def images_file(prefix: str) -> str:
    return f"{prefix}-images-idx3-ubyte"


def labels_file(prefix: str) -> str:
    return f"{prefix}-labels-idx1-ubyte"

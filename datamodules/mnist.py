"""MNIST (LeCun et al. 1998), in torchvision's folder and read by torchvision's loader."""

import hashlib
from pathlib import Path
from typing import Literal

from torchvision import datasets

from .image_datamodule import DataError, ImageDataModule, LabelledImages

RAW_FILE_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class MNIST(ImageDataModule):
    """55,000 / 5,000 / 10,000 images of 28x28, from `<root>/MNIST/raw`; downloaded if they are not there."""

    image_shape = (1, 28, 28)
    class_names = tuple(str(digit) for digit in range(10))
    num_test = 10000
    num_val = 5000

    def __init__(self, root: str, batch_size: int, seed: int, split_seed: int, device: Literal["auto", "cpu"]) -> None:
        super().__init__(batch_size, seed, split_seed, device)
        self.root = Path(root).expanduser()

    @property
    def cache_folders(self) -> list[Path]:
        return [self.root / "MNIST" / "cache", *super().cache_folders]

    def prepare_data(self) -> None:
        """Download what is missing and check the md5 of every file. Raises DataError."""
        folder = self.root / "MNIST" / "raw"
        if not all((folder / name).is_file() for name in RAW_FILE_MD5):
            self._download(folder)
        for name, expected in RAW_FILE_MD5.items():
            found = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
            if found != expected:
                raise DataError(
                    f"MNIST: {folder / name} is damaged: its md5 is {found}, expected {expected}. "
                    "Delete that file and run again to fetch it anew, or copy it from a good source."
                )

    def _download(self, folder: Path) -> None:
        missing = [name for name in RAW_FILE_MD5 if not (folder / name).is_file()]
        try:
            datasets.MNIST(str(self.root), download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"MNIST: {folder} lacks {', '.join(missing)}, and the download failed ({error}). "
                "Set data.root= to a folder that has MNIST/raw with the four files, or run with a network."
            ) from error

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        learn, test = (datasets.MNIST(str(self.root), train=train) for train in (True, False))
        return tuple(LabelledImages(split.data.unsqueeze(1), split.targets) for split in (learn, test))

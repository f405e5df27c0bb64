"""What every data module keeps to: splits that never mix, loaders that repeat themselves, training images on demand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, TinyImages
from hydra.utils import get_class
from lightning import LightningModule, Trainer
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_digits
from small_data import PLAIN, idx, small, write_imagenette, write_images, write_mnist_format
from torch import Tensor

from datamodules import imagenette
from datamodules.digits import Digits
from datamodules.folder import Folder
from datamodules.folder_splits import number_of
from datamodules.image_datamodule import DataError, ImageDataModule
from datamodules.imagenette import Imagenette
from datamodules.mnist import MNISTFormat
from datamodules.pixels import to_uint8, to_unit_range
from datamodules.shard_writing import write_shards
from datamodules.sources import FolderSource
from datamodules.stream import Stream
from foundation.errors import ConfigError, UserError

SPLITS = ("train", "val", "test")
CHOICES = sorted(path.stem for path in (PROJECT / "conf" / "data").glob("[!_]*.yaml"))


def keys(images: Tensor) -> list[bytes]:
    """Each image as bytes, which can be looked up."""
    return [image.numpy().tobytes() for image in images]


def loaded(datamodule: ImageDataModule, split: str) -> tuple[Tensor, Tensor]:
    """All images and labels of an epoch, as the loader of a split gives them."""
    images, labels = zip(*getattr(datamodule, f"{split}_dataloader")(), strict=True)
    return torch.cat(images), torch.cat(labels)


# Small data sets of every kind that conf/data names, and what is known of them without asking the data module


class Small:
    """Makes data modules of one choice on small files; knows the official images and labels by other means."""

    def __init__(self, choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shipped = get_class(OmegaConf.load(PROJECT / "conf" / "data" / f"{choice}.yaml").data._target_)
        self.options: dict = {}
        if issubclass(self.shipped, MNISTFormat):
            self._mnist_format(tmp_path / "data")
        else:
            known = {Digits: self._digits, Imagenette: self._imagenette, Folder: self._folder, Stream: self._stream}
            assert self.shipped in known, f"{self.shipped.__name__}: a small version of it is missing in this test"
            known[self.shipped](tmp_path / "data", monkeypatch)

    def __call__(self, seed: int = 0, split_seed: int = 0) -> ImageDataModule:
        if self.shipped is Stream:  # its splits are drawn when it is written
            self.options["root"] = str(write_stream(self.images, split_seed))
        datamodule = self.shipped(**self.options, batch_size=7, seed=seed, split_seed=split_seed, **PLAIN)
        datamodule.prepare_data()
        datamodule.setup()
        return datamodule

    def _mnist_format(self, root: Path) -> None:
        raw = self.shipped(str(root), batch_size=1, seed=0, split_seed=0, **PLAIN).folder / "raw"
        contents = write_mnist_format(raw, shipped=self.shipped)
        self.shipped, self.options = small(self.shipped, raw), {"root": str(root)}
        tensors = {name: torch.from_numpy(array.copy()) for name, array in contents.items()}
        self.trainval, self.test = (
            (
                tensors[f"{name}-images-idx3-ubyte"].unsqueeze(1),
                tensors[f"{name}-labels-idx1-ubyte"].long() - self.shipped.first_label,
            )
            for name in self.shipped.file_prefixes
        )

    def _digits(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bunch = load_digits()
        images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
        labels = torch.from_numpy(bunch.target).long()
        order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
        self.test = images[order[:300]], labels[order[:300]]
        self.trainval = images[order[300:]], labels[order[300:]]

    def _imagenette(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        counts = {wordnet_id: (name, 3, 2) for wordnet_id, (name, _, _) in imagenette.CLASSES.items()}
        monkeypatch.setattr(imagenette, "CLASSES", counts)
        monkeypatch.setattr(Imagenette, "num_val", 10)
        monkeypatch.setattr(Imagenette, "num_test", 20)
        write_imagenette(root)
        self.options = {"root": str(root), "image_size": 8}
        self.trainval, self.test = (
            decoded(sorted((root / imagenette.FOLDER / split).rglob("*.JPEG")), 8) for split in ("train", "val")
        )

    def _folder(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_images(root, ["train/a", "train/b", "test/a", "test/b"], count=20)
        self.options = {"root": str(root), "image_size": 8, "channels": 3, "background": "white",
                        "num_val": 10, "num_test": None, "memory_share": 0.25}  # fmt: skip
        self.trainval, self.test = (decoded(sorted((root / split).rglob("*.png")), 8) for split in ("train", "test"))

    def _stream(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = write_images(root / "images", ["train/a", "train/b", "test/a", "test/b"], count=20)
        self.options = {"num_drawn": 1000, "num_workers": 0, "cache_gb": 1.0}
        self.trainval, self.test = (
            decoded(as_written(self.images, sorted((self.images / split).rglob("*.png"))), 8)
            for split in ("train", "test")
        )


def write_stream(images: Path, split_seed: int) -> Path:
    """Shards of a folder of images, of a few images each."""
    out = images.with_name(f"shards-{split_seed}")
    if not out.exists():
        source = FolderSource(images, 8, 3, "white", 10, None, split_seed)
        write_shards(source, out, (3, 8, 8), 0.001, {})
    return out


def as_written(root: Path, paths: list[Path]) -> list[Path]:
    """Files in the order in which shards hold them."""
    return sorted(paths, key=lambda path: number_of(str(path.relative_to(root)), "order"))


def decoded(paths: list[Path], size: int) -> tuple[Tensor, Tensor]:
    """The central squares of the files and the labels of their folders, by Pillow alone."""
    names = sorted({path.parent.name for path in paths})
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            side, left, top = min(image.size), *((length - min(image.size)) / 2 for length in image.size)
            box = (left, top, left + side, top + side)
            square = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS, box=box)
        pixels.append(torch.from_numpy(np.array(square)).permute(2, 0, 1))
    return torch.stack(pixels), torch.tensor([names.index(path.parent.name) for path in paths])


@pytest.fixture(params=CHOICES)
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    return Small(request.param, tmp_path, monkeypatch)


# Splits


def test_test_split_is_the_official_test_images_whatever_the_seeds(data: Small):
    for datamodule in (data(), data(seed=1, split_seed=1)):
        images, labels = datamodule.split("test")
        assert torch.equal(images, data.test[0]) and torch.equal(labels, data.test[1])
        assert datamodule.num_test == len(images)


def test_train_and_val_share_the_other_images_and_every_image_keeps_its_label(data: Small):
    datamodule = data()
    held = {split: datamodule.split(split) for split in SPLITS}
    assert sorted(keys(held["train"].images) + keys(held["val"].images)) == sorted(keys(data.trainval[0]))
    label_of = {
        key: label
        for images, labels in (data.trainval, data.test)
        for key, label in zip(keys(images), labels.tolist(), strict=True)
    }
    for images, labels in held.values():
        assert labels.tolist() == [label_of[key] for key in keys(images)]
        assert images.dtype == torch.uint8 and images.shape[1:] == datamodule.image_shape
    assert datamodule.num_val == len(held["val"].images) > 0


def test_labels_are_the_places_of_class_names(data: Small):
    datamodule = data()
    labels = torch.cat([datamodule.split(split).labels for split in SPLITS])
    assert labels.unique().tolist() == list(range(datamodule.num_classes))
    assert len(set(datamodule.class_names)) == datamodule.num_classes


def test_no_image_is_in_two_splits(data: Small):
    datamodule = data()
    train, val, test = (set(keys(datamodule.split(split).images)) for split in SPLITS)
    assert not train & val and not train & test and not val & test


def test_each_loader_gives_its_own_split(data: Small):
    datamodule = data()
    for split in ("val", "test"):
        images, labels = loaded(datamodule, split)
        assert torch.equal(images, datamodule.split(split).images)
        assert torch.equal(labels, datamodule.split(split).labels)
    images, labels = loaded(datamodule, "train")
    given = sorted(zip(keys(images), labels.tolist(), strict=True))
    expected = datamodule.split("train")
    assert given == sorted(zip(keys(expected.images), expected.labels.tolist(), strict=True))


def test_split_seed_draws_val_and_train_and_the_training_seed_does_not(data: Small):
    first, again, other = data(seed=0), data(seed=1), data(split_seed=1)
    for split in SPLITS:
        assert torch.equal(first.split(split).images, again.split(split).images)
    assert set(keys(first.split("val").images)) != set(keys(other.split("val").images))


def test_digits_have_their_counts_and_their_grey_levels():
    datamodule = digits()
    assert [len(datamodule.split(split).images) for split in SPLITS] == [1197, 300, 300]
    assert datamodule.class_names == tuple(str(digit) for digit in range(10))
    levels = datamodule.split("train").images.unique().tolist()
    assert levels == [round(level * 255 / 16) for level in range(17)]


# The order of training images


def digits(seed: int = 0, split_seed: int = 0) -> Digits:
    datamodule = Digits(batch_size=100, seed=seed, split_seed=split_seed, **PLAIN)
    datamodule.setup()
    return datamodule


def test_training_seed_changes_the_order():
    assert torch.equal(loaded(digits(seed=0), "train")[0], loaded(digits(seed=0), "train")[0])
    assert not torch.equal(loaded(digits(seed=0), "train")[0], loaded(digits(seed=1), "train")[0])


def test_epochs_have_different_orders_that_can_be_repeated():
    loader = digits().train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append(torch.cat([images for images, _ in loader]))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    assert sorted(keys(orders[1])) == sorted(keys(digits().split("train").images))


class Onlooker(LightningModule):
    """A model that only keeps what it is given, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.given: list[list[bytes]] = []

    def on_train_epoch_start(self) -> None:
        self.given.append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, _ = batch
        assert images.dtype == torch.float32
        self.given[-1] += keys(images)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> None:
        return None


def epochs_of_a_run(seed: int) -> list[list[bytes]]:
    """The training images of three epochs, in the order in which Lightning's loop hands them over."""
    model = Onlooker()
    Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, datamodule=digits(seed=seed))  # fmt: skip
    return model.given


@pytest.mark.filterwarnings("ignore:.*configure_optimizers. returned .None.")
def test_no_two_epochs_of_a_run_have_one_order_and_a_run_can_be_repeated():
    epochs = epochs_of_a_run(seed=0)
    expected = sorted(keys(to_unit_range(digits().split("train").images)))
    assert [sorted(epoch) for epoch in epochs] == [expected] * 3
    assert epochs[0] != epochs[1] and epochs[1] != epochs[2] and epochs[0] != epochs[2]
    assert epochs_of_a_run(seed=0) == epochs
    others = epochs_of_a_run(seed=1)
    assert all(other != epoch for other, epoch in zip(others, epochs, strict=True))


def test_making_and_reading_a_loader_leaves_the_global_generator_alone():
    datamodule = digits()
    state = torch.get_rng_state()
    for _ in datamodule.train_dataloader():
        pass
    assert torch.equal(torch.get_rng_state(), state)


# Training images on demand


def test_training_images_are_of_train_with_their_labels_in_unit_range(data: Small):
    datamodule = data()
    images, labels = datamodule.training_images(9)
    assert images.dtype == torch.float32 and images.shape == (9, *datamodule.image_shape)
    train = datamodule.split("train")
    label_of = dict(zip(keys(train.images.float() / 255), train.labels.tolist(), strict=True))
    assert labels.tolist() == [label_of[key] for key in keys(images)]
    assert len(set(keys(images))) == 9


def test_order_of_training_images_depends_on_split_seed_alone():
    first = digits().training_images(20)[0]
    assert torch.equal(first, digits(seed=1).training_images(20)[0])
    assert torch.equal(first[:5], digits().training_images(5)[0])
    datamodule = digits()
    datamodule.split_seed = 1  # of the same train split
    assert not torch.equal(first, datamodule.training_images(20)[0])
    assert not torch.equal(first, to_unit_range(digits().split("train").images[:20]))


def test_training_images_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    digits().training_images(20)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_images_are_prepared_and_read_once_where_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    class Counting(TinyImages):
        def prepare_data(self) -> None:
            calls.append("prepare")

        def read(self):
            calls.append("read")
            return super().read()

    datamodule = Counting((1, 4, 4))
    first = datamodule.training_images(3)
    assert calls == ["prepare", "read"]
    again = datamodule.training_images(3)
    datamodule.setup()
    assert calls == ["prepare", "read"]
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_more_training_images_than_there_are_is_the_users_error():
    datamodule = digits()
    assert len(datamodule.training_images(1197)[0]) == 1197
    with pytest.raises(ConfigError, match=r"1,198 training images are needed at once, and Digits has 1,197"):
        datamodule.training_images(1198)


# Pixels


def test_batches_are_uint8_from_the_loader_and_unit_floats_on_the_device():
    datamodule = TinyImages((3, 4, 4))
    datamodule.setup()
    batch = next(iter(datamodule.train_dataloader()))
    assert batch[0].dtype == torch.uint8 and batch[0].shape == (4, 3, 4, 4)
    images, labels = datamodule.on_after_batch_transfer(batch, 0)
    assert images.dtype == torch.float32
    assert torch.equal(images, batch[0].float() / 255)
    assert torch.equal(labels, batch[1])


def test_every_grey_level_survives_the_way_to_unit_range_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert to_unit_range(levels)[[0, -1]].tolist() == [0.0, 1.0]
    assert torch.equal(to_uint8(to_unit_range(levels)), levels)


def test_pixels_are_rounded_to_the_nearest_level_and_clamped():
    pixels = torch.tensor([-0.1, 0.49 / 255, 0.51 / 255, 253.6 / 255, 1.1])
    assert to_uint8(pixels).tolist() == [0, 0, 1, 254, 255]


def test_damaged_data_is_the_users_error():
    assert issubclass(DataError, UserError)


def test_helper_writes_the_bytes_of_the_published_format():
    array = np.array([[1, 2, 3]], dtype=np.uint8)
    assert idx(array).hex(" ") == "00 00 08 02 00 00 00 01 00 00 00 03 01 02 03"

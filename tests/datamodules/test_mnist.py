"""MNIST and the data sets in its format: real files where they are, and small ones in the same format everywhere."""

import gzip
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA_ROOT, needs_real
from small_data import FILES, PLAIN, idx, small, write_mnist_format

from datamodules.image_datamodule import DataError
from datamodules.mnist import KMNIST, MNIST, FashionMNIST, MNISTFormat

SETS = {MNIST: "MNIST", FashionMNIST: "FashionMNIST", KMNIST: "KMNIST"}  # by the name of torchvision's folder
SPLITS = ("train", "val", "test")
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


def at(root: Path, shipped: type[MNISTFormat] = MNIST, **changes) -> MNISTFormat:
    return shipped(**{"root": str(root), "batch_size": 16, "seed": 0, "split_seed": 0, **PLAIN, **changes})


@pytest.fixture(params=SETS, ids=SETS.values())
def shipped(request: pytest.FixtureRequest) -> type[MNISTFormat]:
    return request.param


@pytest.fixture
def raw(shipped: type[MNISTFormat], tmp_path: Path) -> Path:
    """torchvision's folder with 60 + 20 random images."""
    folder = tmp_path / SETS[shipped] / "raw"
    write_mnist_format(folder)
    return folder


@pytest.fixture
def datamodule(shipped: type[MNISTFormat], raw: Path, tmp_path: Path) -> MNISTFormat:
    """The shipped data module with the counts, and the md5, of the small files."""
    return at(tmp_path, small(shipped, raw))


def test_torchvisions_folder_is_read(datamodule: MNISTFormat, raw: Path):
    datamodule.prepare_data()
    datamodule.setup()
    assert [len(datamodule.split(split).images) for split in SPLITS] == [50, 10, 20]
    images, labels = datamodule.split("test")
    expected = np.frombuffer((raw / TEST_IMAGES).read_bytes()[16:], dtype=np.uint8).reshape(20, 1, 28, 28)
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert np.array_equal(images.numpy(), expected)
    assert labels.tolist() == [number % 10 for number in range(20)]


def test_every_set_has_ten_classes_and_mnists_shape(datamodule: MNISTFormat):
    assert datamodule.num_classes == len(set(datamodule.class_names)) == 10
    assert datamodule.image_shape == (1, 28, 28)


def test_caches_lie_beside_the_files_or_with_the_user(shipped: type[MNISTFormat], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/.cache")
    name = SETS[shipped]
    users = Path(f"/home/me/.cache/vae-vs-gan/{name.lower()}")
    assert at(Path("/data"), shipped).cache_folders == [Path(f"/data/{name}/cache"), users]


def test_labels_are_the_places_of_their_names():
    assert MNIST.class_names[7] == "7"
    assert FashionMNIST.class_names[9] == "Ankle boot"
    assert KMNIST.class_names[3] == "tsu"
    for shipped in (FashionMNIST, KMNIST):
        assert shipped.class_names == tuple(shipped.dataset.classes)  # torchvision's own


def damage(path: Path, fault: str) -> None:
    content = path.read_bytes()
    array = np.frombuffer(content[16:], dtype=np.uint8).reshape(-1, 28, 28) if "images" in path.name else None
    damaged = {
        "packed": lambda: gzip.compress(content),
        "empty": lambda: b"",
        "of other numbers": lambda: content[:2] + b"\x0d" + content[3:],
        "of labels": lambda: idx(array[:, 0, 0]),
        "of fewer": lambda: idx(array[:-1]),
        "of other sizes": lambda: idx(array[:, :27]),
        "header alone": lambda: content[:10],
        "truncated": lambda: content[:-1],
        "longer": lambda: content + b"\x00",
    }[fault]()
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("packed", r"it begins with the bytes 1f 8b 08 \w\w, expected 00 00 08 03"),
        ("empty", r"it begins with the bytes \(none\), expected 00 00 08 03"),
        ("of other numbers", r"it begins with the bytes 00 00 0d 03, expected 00 00 08 03"),
        ("of labels", r"it begins with the bytes 00 00 08 01, expected 00 00 08 03"),
        ("of fewer", r"its header says 19 x 28 x 28, expected 20 x 28 x 28"),
        ("of other sizes", r"its header says 20 x 27 x 28, expected 20 x 28 x 28"),
        ("header alone", r"its header says .*, expected 20 x 28 x 28"),
        ("truncated", r"it has 15,695 bytes, expected 15,696"),
        ("longer", r"it has 15,697 bytes, expected 15,696"),
    ],
)
def test_file_that_has_not_the_form_is_named_with_what_is_wrong(
    fault: str, message: str, datamodule: MNISTFormat, raw: Path
):
    damage(raw / TEST_IMAGES, fault)
    expected = rf"{raw / TEST_IMAGES} is damaged: {message}\. Delete that file and run again .*good source\."
    with pytest.raises(DataError, match=expected):
        datamodule.prepare_data()
    with pytest.raises(DataError, match=expected):  # a process that leaves preparing to another
        datamodule.setup()


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_checked(name: str, datamodule: MNISTFormat, raw: Path):
    (raw / name).write_bytes((raw / name).read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{name} is damaged: it has"):
        datamodule.prepare_data()


@pytest.mark.parametrize("name", [TRAIN_LABELS, TEST_LABELS])
def test_label_of_no_class_is_refused(name: str, datamodule: MNISTFormat, raw: Path):
    content = bytearray((raw / name).read_bytes())
    content[-1] = 10
    (raw / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} has the label 10, expected 0 to 9\. Delete"):
        datamodule.prepare_data()


def test_labels_that_are_fewer_than_their_images_are_refused(datamodule: MNISTFormat, raw: Path):
    (raw / TRAIN_LABELS).write_bytes(idx(np.arange(59, dtype=np.uint8) % 10))
    with pytest.raises(DataError, match=rf"{TRAIN_LABELS} is damaged: its header says 59, expected 60\. Delete"):
        datamodule.prepare_data()


def test_shipped_set_takes_its_official_counts_alone(shipped: type[MNISTFormat], raw: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"its header says 60 x 28 x 28, expected 60,000 x 28 x 28"):
        at(tmp_path, shipped).prepare_data()
    assert (shipped.num_trainval, shipped.num_val, shipped.num_test) == (60_000, 5_000, 10_000)


def test_file_that_cannot_be_read_is_named(datamodule: MNISTFormat, raw: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=rf"{raw / TRAIN_IMAGES} can't be read \(Permission denied\)\. Delete"):
        datamodule.prepare_data()


@pytest.mark.parametrize("shipped", [MNIST], ids=["MNIST"], indirect=True)
@pytest.mark.parametrize("name", FILES)
def test_mnist_of_the_right_form_and_other_content_is_named_with_both_sums(
    name: str, datamodule: MNISTFormat, raw: Path
):
    content = bytearray((raw / name).read_bytes())
    content[-1] ^= 1
    (raw / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is damaged: its md5 is \w{{32}}, expected \w{{32}}\. Delete"):
        datamodule.prepare_data()


def test_missing_file_without_network_is_named(
    shipped: type[MNISTFormat], datamodule: MNISTFormat, raw: Path, monkeypatch: pytest.MonkeyPatch
):
    (raw / TRAIN_LABELS).unlink()

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(shipped.dataset, "download", offline)
    with pytest.raises(
        DataError,
        match=rf"^{SETS[shipped]}: {raw} lacks {TRAIN_LABELS} \(download: no network\)"
        rf"\. Set data\.root= to a folder that has {SETS[shipped]}/raw",
    ):
        datamodule.prepare_data()


def test_files_that_are_only_packed_are_unpacked(
    shipped: type[MNISTFormat], datamodule: MNISTFormat, raw: Path, monkeypatch: pytest.MonkeyPatch
):
    resources = []
    for name in FILES:
        packed = gzip.compress((raw / name).read_bytes())
        (raw / f"{name}.gz").write_bytes(packed)
        (raw / name).unlink()
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(shipped.dataset, "resources", resources)
    datamodule.prepare_data()
    datamodule.setup()
    assert [len(datamodule.split(split).images) for split in SPLITS] == [50, 10, 20]


def test_file_that_is_damaged_beside_a_missing_one_is_named_once_that_is_there(
    shipped: type[MNISTFormat], datamodule: MNISTFormat, raw: Path, monkeypatch: pytest.MonkeyPatch
):
    labels = (raw / TRAIN_LABELS).read_bytes()
    (raw / TRAIN_LABELS).unlink()
    damage(raw / TRAIN_IMAGES, "truncated")  # which torchvision then fails to read
    monkeypatch.setattr(shipped.dataset, "download", lambda _: (raw / TRAIN_LABELS).write_bytes(labels))
    with pytest.raises(DataError, match=rf"{TRAIN_IMAGES} is damaged: it has"):
        datamodule.prepare_data()


class Bars(MNISTFormat):
    """Facts that all differ from MNIST's."""

    name = "bars"
    class_names = ("horizontal", "vertical", "cross")
    image_shape = (1, 16, 20)
    num_trainval, num_val, num_test = 60, 10, 20
    file_prefixes = ("bars-train", "bars-test")
    first_label = 1


def test_set_of_other_sizes_names_and_labels_is_a_class_of_facts(tmp_path: Path):
    write_mnist_format(tmp_path / "bars" / "raw", shipped=Bars)
    datamodule = Bars(str(tmp_path), batch_size=5, seed=0, split_seed=0, **PLAIN)
    datamodule.prepare_data()
    datamodule.setup()
    assert [len(datamodule.split(split).images) for split in SPLITS] == [50, 10, 20]
    images, labels = datamodule.split("test")
    assert images.shape == (20, 1, 16, 20) and labels.tolist() == [index % 3 for index in range(20)]


def test_set_that_is_from_nowhere_is_not_downloaded(tmp_path: Path):
    datamodule = Bars(str(tmp_path), batch_size=5, seed=0, split_seed=0, **PLAIN)
    with pytest.raises(DataError, match=r"^bars: .*lacks bars-train-images.*from nowhere to be downloaded"):
        datamodule.prepare_data()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", [0, 4])
def test_label_below_or_above_the_classes_is_refused(label: int, tmp_path: Path):
    raw = tmp_path / "bars" / "raw"
    write_mnist_format(raw, shipped=Bars)
    (raw / "bars-test-labels-idx1-ubyte").write_bytes(idx(np.full(20, label, np.uint8)))
    datamodule = Bars(str(tmp_path), batch_size=5, seed=0, split_seed=0, **PLAIN)
    with pytest.raises(DataError, match=rf"bars-test-labels-idx1-ubyte has the label {label}, expected 1 to 3"):
        datamodule.prepare_data()


@needs_real("MNIST")
def test_real_mnist_has_its_splits():
    datamodule = at(DATA_ROOT)
    datamodule.prepare_data()
    datamodule.setup()
    assert [len(datamodule.split(split).images) for split in SPLITS] == [55_000, 5_000, 10_000]
    official = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # images of each digit in the test set
    assert datamodule.split("test").labels.bincount().tolist() == official


@needs_real("MNIST")
def test_epoch_of_mnist_through_the_loader_takes_less_than_three_tenths_of_a_second():
    datamodule = at(DATA_ROOT, batch_size=100)
    datamodule.setup()
    loader = datamodule.train_dataloader()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert sum(len(labels) for _, labels in loader) == 55_000
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, seconds  # the best of five: other tests run at the same time

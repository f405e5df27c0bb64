"""Data: splits that never mix, loaders that repeat themselves, and errors that name the file."""

import gzip
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA_ROOT, TinyImages, needs_real
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from datamodules import imagenette, mnist
from datamodules.decoding import decode_file
from datamodules.digits import Digits
from datamodules.disk_cache import load_cached
from datamodules.image_datamodule import DataError
from datamodules.imagenette import Imagenette
from datamodules.mnist import MNIST
from datamodules.pixels import to_unit_range


def digits(seed: int = 0, split_seed: int = 0) -> Digits:
    datamodule = Digits(batch_size=100, seed=seed, split_seed=split_seed, device="auto")
    datamodule.setup()
    return datamodule


def keys(datamodule, split: str) -> list[bytes]:
    return [image.numpy().tobytes() for image in datamodule.split(split).images]


def check_splits(datamodule, train: int, val: int, test: int) -> None:
    datamodule.prepare_data()
    datamodule.setup()
    for name, count in (("train", train), ("val", val), ("test", test)):
        images, labels = datamodule.split(name)
        assert images.shape == (count, *datamodule.image_shape)
        assert images.dtype == torch.uint8
        assert labels.shape == (count,)
        assert set(labels.tolist()) <= set(range(datamodule.num_classes))
        assert labels.unique().numel() >= 5  # shuffled with their images, not constant
    assert datamodule.num_test == test


def test_digits_have_their_splits_and_their_grey_levels():
    check_splits(digits(), 1197, 300, 300)
    levels = digits().split("train").images.unique().tolist()
    assert levels == [round(level * 255 / 16) for level in range(17)]


def test_splits_hold_every_image_once():
    from sklearn.datasets import load_digits

    datamodule = digits()
    held = sorted(key for split in ("train", "val", "test") for key in keys(datamodule, split))
    original = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    assert held == sorted(image.tobytes() for image in original)


def test_split_seed_changes_val_but_never_test():
    first, second = digits(split_seed=0), digits(split_seed=1)
    assert keys(first, "test") == keys(second, "test")
    assert set(keys(first, "val")) != set(keys(second, "val"))
    assert keys(first, "val") == keys(digits(split_seed=0), "val")


def test_training_seed_changes_the_order_but_not_the_splits():
    first, second = digits(seed=0), digits(seed=1)
    assert keys(first, "train") == keys(second, "train")
    orders = [next(iter(datamodule.train_dataloader()))[0] for datamodule in (first, second)]
    assert not torch.equal(*orders)


def test_epochs_have_different_orders_that_can_be_repeated():
    loader = digits().train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append(torch.cat([images for images, _ in loader]))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    assert sorted(image.numpy().tobytes() for image in orders[1]) == sorted(keys(digits(), "train"))


def test_making_and_reading_a_loader_leaves_the_global_generator_alone():
    datamodule = digits()
    state = torch.get_rng_state()
    for _ in datamodule.train_dataloader():
        pass
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_uint8_from_the_loader_and_unit_floats_on_the_device():
    datamodule = TinyImages((3, 4, 4))
    datamodule.setup()
    batch = next(iter(datamodule.train_dataloader()))
    assert batch[0].dtype == torch.uint8 and batch[0].shape == (4, 3, 4, 4)
    images, labels = datamodule.on_after_batch_transfer(batch, 0)
    assert torch.equal(images, batch[0].float() / 255)
    assert torch.equal(labels, batch[1])


def test_unit_range_reaches_both_ends():
    assert to_unit_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]


# MNIST: real files where they are, and small ones in the same format everywhere


def idx(array: np.ndarray) -> bytes:
    """The IDX format of MNIST's files."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like torchvision's with 60 + 20 random images, whose md5 sums are taken as the right ones."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    contents = {}
    for prefix, count in (("train", 60), ("t10k", 20)):
        contents[f"{prefix}-images-idx3-ubyte"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        contents[f"{prefix}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for name, array in contents.items():
        (raw / name).write_bytes(idx(array))
    sums = {name: hashlib.md5(idx(array)).hexdigest() for name, array in contents.items()}
    monkeypatch.setattr(mnist, "RAW_FILE_MD5", sums)
    monkeypatch.setattr(MNIST, "num_val", 10)
    monkeypatch.setattr(MNIST, "num_test", 20)
    return tmp_path


def mnist_at(root: Path) -> MNIST:
    return MNIST(root=str(root), batch_size=16, seed=0, split_seed=0, device="auto")


def test_mnist_reads_torchvisions_folder(small_mnist: Path):
    check_splits(mnist_at(small_mnist), 50, 10, 20)


def test_damaged_mnist_file_is_named_with_both_sums(small_mnist: Path):
    damaged = small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(
        DataError, match=r"t10k-images-idx3-ubyte is damaged: its md5 is \w{32}, expected \w{32}\. Delete"
    ):
        mnist_at(small_mnist).prepare_data()


def test_missing_mnist_without_network_says_what_is_missing(small_mnist: Path, monkeypatch: pytest.MonkeyPatch):
    (small_mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()

    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(mnist.datasets.MNIST, "download", offline)
    with pytest.raises(
        DataError, match=r"lacks train-labels-idx1-ubyte, and the download failed \(no network\).*data\.root="
    ):
        mnist_at(small_mnist).prepare_data()


def test_mnist_that_is_only_packed_is_unpacked(small_mnist: Path, monkeypatch: pytest.MonkeyPatch):
    raw = small_mnist / "MNIST" / "raw"
    resources = []
    for name in mnist.RAW_FILE_MD5:
        packed = gzip.compress((raw / name).read_bytes())
        (raw / f"{name}.gz").write_bytes(packed)
        (raw / name).unlink()
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(mnist.datasets.MNIST, "resources", resources)
    check_splits(mnist_at(small_mnist), 50, 10, 20)


@needs_real("MNIST")
def test_real_mnist_has_its_splits():
    check_splits(mnist_at(DATA_ROOT), 55_000, 5_000, 10_000)


@needs_real("MNIST")
def test_epoch_of_mnist_through_the_loader_takes_less_than_three_tenths_of_a_second():
    datamodule = MNIST(root=str(DATA_ROOT), batch_size=100, seed=0, split_seed=0, device="auto")
    datamodule.setup()
    loader = datamodule.train_dataloader()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert sum(len(labels) for _, labels in loader) == 55_000
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, seconds  # the best of five: other tests run beside this one


# Imagenette: the real images where they are, and a few JPEGs in the same folders everywhere


@pytest.fixture
def small_imagenette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like torchvision's with 3 + 2 JPEGs a class, one of them grey."""
    root = tmp_path / "data"
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for wordnet_id in imagenette.CLASSES:
            folder = root / imagenette.FOLDER / split / wordnet_id
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                image = Image.fromarray(pixels)
                image = image.convert("L") if number == 0 else image
                image.save(folder / f"{number}.JPEG", quality=95)
    counts = {wordnet_id: (name, 3, 2) for wordnet_id, (name, _, _) in imagenette.CLASSES.items()}
    monkeypatch.setattr(imagenette, "CLASSES", counts)
    monkeypatch.setattr(Imagenette, "num_val", 10)
    monkeypatch.setattr(Imagenette, "num_test", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


def imagenette_at(root: Path, image_size: int = 16) -> Imagenette:
    return Imagenette(root=str(root), image_size=image_size, batch_size=16, seed=0, split_seed=0, device="auto")


def refuse(*_, **__):
    raise AssertionError("images were decoded though they are cached")


def test_imagenette_reads_torchvisions_folder(small_imagenette: Path):
    datamodule = imagenette_at(small_imagenette)
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.split("train").images.shape == (20, 3, 16, 16)
    assert datamodule.split("val").images.shape == (10, 3, 16, 16)
    test = datamodule.split("test")
    assert test.labels.tolist() == [label for label in range(10) for _ in range(2)]
    grey = test.images[0]
    assert torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])


def test_images_are_cropped_to_the_central_square(tmp_path: Path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 10:30] = 200  # the central square is bright, the rest is black
    Image.fromarray(pixels).save(tmp_path / "a.JPEG", quality=100)
    decoded = decode_file(tmp_path / "a.JPEG", size=20, channels=3, remedy="")
    assert decoded.shape == (3, 20, 20)
    assert decoded[:, 2:-2, 2:-2].float().mean().item() == pytest.approx(200, abs=3)


def test_images_are_decoded_once_and_cached_beside_the_data(small_imagenette: Path, monkeypatch: pytest.MonkeyPatch):
    first = imagenette_at(small_imagenette).read()
    (cache,) = (small_imagenette / "imagenette2-160-cache").iterdir()
    assert cache.name.startswith("16px-") and cache.suffix == ".safetensors"
    monkeypatch.setattr(imagenette, "decode", refuse)
    for split, again in zip(first, imagenette_at(small_imagenette).read(), strict=True):
        assert torch.equal(split.images, again.images) and torch.equal(split.labels, again.labels)


def test_cache_is_by_size_and_by_content(small_imagenette: Path):
    imagenette_at(small_imagenette, 16).read()
    imagenette_at(small_imagenette, 8).read()
    changed = small_imagenette / imagenette.FOLDER / "train" / "n01440764" / "1.JPEG"
    Image.fromarray(np.full((20, 20, 3), 7, dtype=np.uint8)).save(changed)
    learn, _ = imagenette_at(small_imagenette, 16).read()
    assert len(list((small_imagenette / "imagenette2-160-cache").iterdir())) == 3
    assert (learn.images[1].float() - 7).abs().max() <= 2


def test_damaged_cache_is_rebuilt(small_imagenette: Path, capsys: pytest.CaptureFixture):
    expected = imagenette_at(small_imagenette).read()
    (cache,) = (small_imagenette / "imagenette2-160-cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:1000])
    again = imagenette_at(small_imagenette).read()
    assert "can't be read" in capsys.readouterr().out
    assert torch.equal(again[0].images, expected[0].images)
    assert torch.equal(imagenette_at(small_imagenette).read()[0].images, expected[0].images)


def test_cache_of_something_else_is_rebuilt(small_imagenette: Path, capsys: pytest.CaptureFixture):
    expected = imagenette_at(small_imagenette).read()
    (cache,) = (small_imagenette / "imagenette2-160-cache").iterdir()
    tensors = load_cached(cache.name, [cache.parent], {"size": "16", "files": cache.stem[5:]})
    tensors["train"] += 1
    with safe_open(cache, framework="pt") as file:
        told = file.metadata()
    save_file(tensors, cache, metadata=told)  # other pixels under the old checksum
    again = imagenette_at(small_imagenette).read()
    assert "is damaged or holds something else" in capsys.readouterr().out
    assert torch.equal(again[0].images, expected[0].images)


def test_cache_goes_to_the_user_where_the_data_folder_cannot_be_written(small_imagenette: Path, tmp_path: Path):
    (small_imagenette / "imagenette2-160-cache").write_text("a file where the folder should be")
    imagenette_at(small_imagenette).read()
    (cache,) = (tmp_path / "cache").rglob("*.safetensors")
    assert cache.name.startswith("16px-")


def test_no_folder_for_the_cache_is_said_and_not_fatal(
    small_imagenette: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    (small_imagenette / "imagenette2-160-cache").write_text("a file")
    (tmp_path / "cache").write_text("a file")
    learn, _ = imagenette_at(small_imagenette).read()
    assert len(learn.images) == 30
    assert "No folder takes the cache 16px-" in capsys.readouterr().out


def test_missing_jpeg_is_counted_by_class(small_imagenette: Path):
    (small_imagenette / imagenette.FOLDER / "val" / "n03028079" / "1.JPEG").unlink()
    with pytest.raises(DataError, match=r"val/n03028079 has 1 JPEG files, expected 2"):
        imagenette_at(small_imagenette).prepare_data()


def test_truncated_jpeg_is_named(small_imagenette: Path):
    path = small_imagenette / imagenette.FOLDER / "train" / "n03888257" / "2.JPEG"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DataError, match=r"n03888257/2\.JPEG is no readable image"):
        imagenette_at(small_imagenette).setup()
    assert not list(small_imagenette.rglob("*.safetensors*"))


def test_file_that_is_no_image_is_named(small_imagenette: Path):
    path = small_imagenette / imagenette.FOLDER / "train" / "n03888257" / "2.JPEG"
    path.write_text("not an image")
    with pytest.raises(DataError, match=r"n03888257/2\.JPEG is no readable image"):
        imagenette_at(small_imagenette).setup()


def test_missing_imagenette_without_network_says_where_it_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(imagenette.datasets.Imagenette, "_download", offline)
    with pytest.raises(
        DataError, match=r"there is no .*imagenette2-160, and the download failed \(no network\).*data\.root="
    ):
        imagenette_at(tmp_path).prepare_data()


@needs_real("imagenette2-160")
def test_real_imagenette_has_its_splits(tmp_path: Path):
    (tmp_path / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
    check_splits(imagenette_at(tmp_path, image_size=8), 8_469, 1_000, 3_925)

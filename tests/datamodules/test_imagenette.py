"""Imagenette: torchvision's folders, decoding, and the cache of what was decoded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA_ROOT, needs_real
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from small_data import PLAIN, write_imagenette

from datamodules import imagenette
from datamodules.decoding import decode_file
from datamodules.disk_cache import load_cached
from datamodules.image_datamodule import DataError
from datamodules.imagenette import Imagenette


@pytest.fixture
def small_imagenette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like torchvision's with 3 + 2 JPEGs a class, one of them grey."""
    counts = {wordnet_id: (name, 3, 2) for wordnet_id, (name, _, _) in imagenette.CLASSES.items()}
    monkeypatch.setattr(imagenette, "CLASSES", counts)
    monkeypatch.setattr(Imagenette, "num_val", 10)
    monkeypatch.setattr(Imagenette, "num_test", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_imagenette(tmp_path / "data")


def imagenette_at(root: Path, image_size: int = 16) -> Imagenette:
    return Imagenette(root=str(root), image_size=image_size, batch_size=16, seed=0, split_seed=0, **PLAIN)


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


def test_files_are_in_order_of_their_names_however_the_disk_lists_them(
    small_imagenette: Path, monkeypatch: pytest.MonkeyPatch
):
    listed = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: sorted(listed(self, pattern), reverse=True))
    names = [path.name for path in imagenette.list_files(small_imagenette / imagenette.FOLDER / "train")]
    assert names == ["0.JPEG", "1.JPEG", "2.JPEG"] * 10


def test_images_are_cropped_to_the_central_square(tmp_path: Path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 10:30] = 200  # the central square is bright, the rest is black
    Image.fromarray(pixels).save(tmp_path / "a.JPEG", quality=100)
    decoded = decode_file(tmp_path / "a.JPEG", size=20, channels=3, background="white")
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
        metadata = file.metadata()
    save_file(tensors, cache, metadata=metadata)  # other pixels under the old checksum
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


def test_the_small_archive_is_fetched_to_the_folder_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fetched = []
    monkeypatch.setattr(
        "torchvision.datasets.imagenette.download_and_extract_archive",
        lambda url, download_root, **_: fetched.append((url.rsplit("/", 1)[1], Path(download_root))),
    )
    with pytest.raises(DataError, match=r"there is no .*imagenette2-160"):  # nothing was unpacked
        imagenette_at(tmp_path).prepare_data()
    assert fetched == [("imagenette2-160.tgz", tmp_path)]


@needs_real("imagenette2-160")
def test_real_imagenette_has_its_splits(tmp_path: Path):
    (tmp_path / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
    datamodule = imagenette_at(tmp_path, image_size=8)
    datamodule.prepare_data()
    datamodule.setup()
    counts = {split: len(datamodule.split(split).images) for split in ("train", "val", "test")}
    assert counts == {"train": 8_469, "val": 1_000, "test": 3_925}
    per_class = datamodule.split("test").labels.bincount().tolist()
    assert per_class == [count for _, _, count in imagenette.CLASSES.values()]

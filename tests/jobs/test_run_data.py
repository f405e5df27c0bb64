"""A run and its images: what it had is written down, and others are noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TinyImages, composed
from hydra.core.hydra_config import HydraConfig
from PIL import Image
from small_data import PLAIN, write_image, write_images

from datamodules.folder import Folder
from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from jobs.evaluation import evaluate
from jobs.run_data import check_same_data, save_data
from run_folder.layout import DATA
from run_folder.pictures import bare_grid

SMALL = ["data=folder", "data.image_size=8", "network=mlp", "network.encoder.width=8", "network.decoder.width=8",
         "scores=none"]  # fmt: skip


def folder_at(root: Path, **changes) -> ImageDataModule:
    given = {"root": str(root), "image_size": 8, "channels": 3, "batch_size": 4, "seed": 0, "split_seed": 0,
             **PLAIN, "background": "white", "num_val": None, "num_test": None,
             "memory_share": 0.25}  # fmt: skip
    datamodule = Folder(**{**given, **changes})
    datamodule.setup()
    return datamodule


def again(run: Path, *overrides: str) -> None:
    cfg = composed(f"run={run}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)


@pytest.fixture
def grow(tmp_path: Path) -> Path:
    return write_images(tmp_path / "grow", ["."], count=100)


def test_one_more_file_is_noticed_when_a_run_is_evaluated_or_resumed(
    grow: Path, train_in: Callable[..., Path], capsys: pytest.CaptureFixture
):
    run = train_in("run", *SMALL, f"data.root={grow}")
    out = capsys.readouterr().out
    before = folder_at(grow)
    assert out.count(before.summary) == 1
    kept = json.loads((run / DATA).read_text())
    assert kept.pop("checksum").startswith("crc32:")
    assert kept == {
        "splits": {
            name: {"images": known.images, "sha256": known.sha256} for name, known in before.split_hashes.items()
        },
        "image_shape": [3, 8, 8],
        "class_names": ["images"],
    }
    again(run)  # nothing has changed
    config, record = ((run / name).read_bytes() for name in ("config.yaml", DATA))
    write_image(grow / "more.png", 1000)
    (changed,) = (name for name in ("train", "val", "test") if "more.png" in getattr(folder_at(grow).files, name))
    had = before.split_hashes[changed].images
    message = rf"the data is no longer that of .*run: {changed} has {had + 1} images and had {had}\. .*train anew"
    with pytest.raises(ConfigError, match=message):
        again(run)
    resume = [*SMALL, f"data.root={grow}", f"ckpt_path={run}/checkpoints/last.ckpt", "trainer.max_epochs=3"]
    for name in ("run", "another"):
        with pytest.raises(ConfigError, match=message):
            train_in(name, *resume)
    assert [(run / name).read_bytes() for name in ("config.yaml", DATA)] == [config, record]
    (grow / "more.png").unlink()
    train_in("run", *resume)


def test_the_same_images_elsewhere_are_the_same_data(grow: Path, train_in: Callable[..., Path]):
    run = train_in("run", *SMALL, f"data.root={grow}")
    moved = grow.rename(grow.with_name("moved"))
    again(run, f"data.root={moved}")


def test_changed_pixels_classes_and_splits_are_noticed(tmp_path: Path):
    root = write_images(tmp_path / "pets", ["cats", "dogs"], count=20)
    first = folder_at(root)
    save_data(first, tmp_path)
    check_same_data(folder_at(root), tmp_path)
    train, test = first.files.train[0], first.files.test[0]
    pixels = (root / train).read_bytes()
    write_image(root / train, 1000)
    with pytest.raises(ConfigError, match=r"run|: train has \d+ images as before, and not the same ones"):
        check_same_data(folder_at(root), tmp_path)
    (root / train).write_bytes(pixels)
    with pytest.raises(ConfigError, match=r"train has .*; val has .*; test has"):
        check_same_data(folder_at(root, split_seed=1), tmp_path)
    name = Path(test).name
    other = "dogs" if test.startswith("cats") else "cats"
    (root / test).rename(root / other / f"moved{name}")
    with pytest.raises(ConfigError):
        check_same_data(folder_at(root), tmp_path)


def test_a_run_without_the_file_is_not_checked_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    datamodule = TinyImages((1, 8, 8))
    datamodule.setup()
    check_same_data(datamodule, tmp_path)
    assert f"{tmp_path} has no {DATA}" in capsys.readouterr().out
    (tmp_path / DATA).write_text("{")
    with pytest.raises(ConfigError, match=r"data\.json can't be read"):
        check_same_data(datamodule, tmp_path)


def test_every_data_set_says_how_many_images_it_has(train_in: Callable[..., Path], capsys: pytest.CaptureFixture):
    run = train_in("run", "network=mlp", "network.encoder.width=8", "network.decoder.width=8", "scores=none")
    line = "data: 1,197 train, 300 val, 300 test; 10 classes; from scikit-learn"
    assert line in capsys.readouterr().out.splitlines()
    assert {name: split["images"] for name, split in json.loads((run / DATA).read_text())["splits"].items()} == {
        "train": 1197, "val": 300, "test": 300,
    }  # fmt: skip


def test_last_row_of_reconstructions_has_its_originals_above(tmp_path: Path, train_in: Callable[..., Path]):
    """flat250: 25 val images or so in rows of 10."""
    root = write_images(tmp_path / "flat", ["a"], count=60)
    run = train_in("run", *SMALL, f"data.root={root}", "data.num_val=5", "callbacks.reconstruction_grid.columns=3",
                   "callbacks.reconstruction_grid.rows=10")  # fmt: skip
    picture = np.asarray(bare_grid(Image.open(run / "pictures" / "reconstructions" / "final.png")))
    images = folder_at(root, num_val=5).split("val").images.permute(0, 2, 3, 1).numpy()
    tile = 48 + 2
    for index, image in enumerate(images):
        top, left = 2 * (index // 3) * tile + 2, (index % 3) * tile + 2
        assert np.array_equal(picture[top : top + 48 : 6, left : left + 48 : 6], image), index
    assert (picture[2 * tile :, 2 * tile :] == 255).all()  # the place that is left

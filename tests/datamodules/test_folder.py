"""Any folder of images: its splits and classes, its cache, and images that are mapped from it instead of held."""

import hashlib
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import DATA_ROOT, needs_real
from PIL import Image
from small_data import PLAIN, write_image, write_images

from datamodules import disk_cache, folder, image_files
from datamodules.decoding import decode_file
from datamodules.folder import Folder
from datamodules.image_datamodule import DataError, ImageDataModule
from datamodules.image_files import list_images
from datamodules.imagenette import Imagenette
from scoring.features import cached_features
from scoring.protocol import content_hash
from scoring.scorer import Scorer

SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of 20 images."""
    return write_images(tmp_path / "pets", ["cats", "dogs"], count=20)


def folder_at(root: Path, **changes) -> Folder:
    defaults = {"image_size": 8, "channels": 3, "batch_size": 4, "seed": 0, "split_seed": 0}
    datamodule = Folder(
        **{
            "root": str(root),
            **defaults,
            "background": "white",
            "num_val": None,
            "num_test": None,
            "memory_share": 0.25,
            **PLAIN,
            **changes,
        }
    )
    datamodule.prepare_data()
    return datamodule


def read(root: Path, **changes) -> Folder:
    datamodule = folder_at(root, **changes)
    datamodule.setup()
    return datamodule


def assert_same_images(first: ImageDataModule, second: ImageDataModule) -> None:
    for split in SPLITS:
        ours, theirs = first.split(split), second.split(split)
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)


def refuse(*_, **__):
    raise AssertionError("images were decoded though they are cached")


# Files, classes and splits


def test_facts_are_known_before_an_image_is_read(pets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder, "decode", refuse)
    datamodule = folder_at(pets, channels=1)
    assert datamodule.image_shape == (1, 8, 8)
    assert datamodule.class_names == ("cats", "dogs")
    assert (datamodule.num_val, datamodule.num_test) == (len(datamodule.files.val), len(datamodule.files.test))


def test_splits_hold_every_image_once_with_its_class(pets: Path):
    datamodule = read(pets)
    assert [len(datamodule.split(split).images) for split in SPLITS] == [len(files) for files in datamodule.files[:3]]
    expected = {
        decode_file(path, 8, 3, "white").numpy().tobytes(): path.parent.name for path in sorted(pets.rglob("*.png"))
    }
    held = [
        (image.numpy().tobytes(), datamodule.class_names[label])
        for split in SPLITS
        for image, label in zip(*datamodule.split(split), strict=True)
    ]
    assert len(held) == 40 and dict(held) == expected


def test_splits_are_drawn_by_split_seed_alone(pets: Path):
    assert_same_images(read(pets, seed=0), read(pets, seed=1))
    first, second = folder_at(pets, split_seed=0).files, folder_at(pets, split_seed=1).files
    assert set(first.val) != set(second.val) and set(first.test) != set(second.test)


def test_sizes_of_val_and_test_can_be_chosen(pets: Path):
    datamodule = read(pets, num_val=7, num_test=30)
    assert (datamodule.num_val, datamodule.num_test) == (7, 30)
    assert [len(datamodule.split(split).images) for split in SPLITS] == [3, 7, 30]


def test_images_are_found_at_any_depth_in_any_format(tmp_path: Path):
    root = tmp_path / "mixed"
    names = ["a/1.JPG", "a/b/c/2.jpeg", "a/3.Png", "b/4.bmp", "b/5.webp", "b/6.gif", "b/7.tif", "8.ppm", "9.TIFF"]
    for number, name in enumerate(names):
        write_image(root / name, number)
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "._1.jpg").write_text("what macOS leaves")
    write_image(root / ".thumbnails" / "1.png", 0)
    datamodule = read(root)
    assert sorted(path for paths in datamodule.files[:3] for path in paths) == sorted(names)
    assert datamodule.class_names == ("a", "b", "images")


def test_folders_that_are_linked_in_a_circle_are_listed_once(pets: Path):
    (pets / "cats" / "again").symlink_to(pets)
    (pets / "dogs" / "same").symlink_to(pets / "cats")
    assert len(list_images(pets, "data.root").paths) == 40


def test_folder_without_sub_folders_is_one_class(tmp_path: Path):
    datamodule = read(write_images(tmp_path / "flat", ["."], count=5))
    assert datamodule.class_names == ("images",)
    assert datamodule.split("train").labels.tolist() == [0]  # two each are val and test


@pytest.mark.parametrize("name", ["test", "val"])
def test_official_test_images_are_test_and_nothing_else_is(name: str, tmp_path: Path):
    root = write_images(tmp_path / "official", ["train/a", "train/b", f"{name}/a", f"{name}/b"], count=10)
    for split_seed in (0, 1):
        datamodule = read(root, split_seed=split_seed)
        assert datamodule.class_names == ("a", "b")
        assert all(path.startswith(name) for path in datamodule.files.test) and datamodule.num_test == 20
        assert all(path.startswith("train") for path in datamodule.files.train + datamodule.files.val)
        assert datamodule.num_val >= 2
        assert datamodule.split("test").labels.tolist() == [0] * 10 + [1] * 10


def test_val_folder_beside_train_and_test_is_val(tmp_path: Path):
    files = folder_at(write_images(tmp_path / "all", ["train/a", "val/a", "test/a"], count=4)).files
    for split in SPLITS:
        assert getattr(files, split) == [f"{split}/a/{number}.png" for number in range(4)]


def test_count_that_an_official_split_does_not_have_is_refused(tmp_path: Path):
    root = write_images(tmp_path / "official", ["train/a", "test/a"], count=10)
    assert folder_at(root, num_test=10).num_test == 10
    with pytest.raises(DataError, match=r"data\.num_test: 5 are asked for, and .*/official/test has 10"):
        folder_at(root, num_test=5).files  # noqa: B018
    write_images(root, ["val/a"], count=7)
    assert folder_at(root, num_val=7).num_val == 7
    with pytest.raises(DataError, match=r"data\.num_val: 5 are asked for, and .*/official/val has 7"):
        folder_at(root, num_val=5).files  # noqa: B018


# Pixels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_kind_of_image_becomes_grey_or_colour(mode: str, tmp_path: Path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (16, 12), (255, 255, 255)).convert(mode).save(path)
    for channels in (1, 3):
        image = decode_file(path, 8, channels, "white")
        assert image.shape == (channels, 8, 8) and image.dtype == torch.uint8
        assert image.min() >= 254


def test_grey_is_pillows_of_the_same_pixels(tmp_path: Path):
    write_image(tmp_path / "a.png", 0)
    with Image.open(tmp_path / "a.png") as image:
        square = image.convert("L").resize((8, 8), Image.Resampling.LANCZOS, box=(2, 0, 14, 12))
    assert torch.equal(decode_file(tmp_path / "a.png", 8, 1, "white")[0], torch.from_numpy(np.array(square)))


def test_first_frame_of_a_film_is_taken(tmp_path: Path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode_file(tmp_path / "a.gif", 8, 3, "white").min() == 255


# The cache


def caches(root: Path) -> list[Path]:
    return sorted(root.with_name(f"{root.name}-cache").iterdir())


@pytest.mark.parametrize("memory_share", [0.0, 1.0])
def test_images_are_decoded_once(memory_share: float, pets: Path, monkeypatch: pytest.MonkeyPatch):
    first = read(pets, memory_share=memory_share)
    (cache,) = caches(pets)
    assert cache.name.startswith("8px-") and cache.suffix == ".npy"
    monkeypatch.setattr(folder, "decode", refuse)
    assert_same_images(first, read(pets, memory_share=memory_share))


def test_cache_is_by_size_channels_background_and_split(pets: Path):
    for changes in ({}, {"image_size": 4}, {"channels": 1}, {"background": "black"}, {"split_seed": 1}, {}):
        read(pets, **changes)
    assert len(caches(pets)) == 5


def test_cache_of_files_that_were_read_in_another_way_is_not_used(pets: Path, monkeypatch: pytest.MonkeyPatch):
    images = read(pets, memory_share=1.0)
    monkeypatch.setattr(image_files, "READING", "as stored, and what lay below transparency")
    for cache in caches(pets):
        np.save(cache, np.zeros((40, 3, 8, 8), dtype=np.uint8))
    assert_same_images(read(pets), images)


def test_changed_file_is_decoded_again(pets: Path):
    before = read(pets)
    changed = pets / before.files.train[0]
    write_image(changed, 1000)
    os.utime(changed, ns=(0, 1))
    after = read(pets)
    assert torch.equal(after.split("train").images[0], decode_file(changed, 8, 3, "white"))
    assert torch.equal(after.split("train").images[1:], before.split("train").images[1:])
    assert len(caches(pets)) == 2


@pytest.mark.parametrize("memory_share", [0.0, 1.0])
@pytest.mark.parametrize("size", [0, 50, 1000])
def test_truncated_cache_is_made_again(size: int, memory_share: float, pets: Path, capsys: pytest.CaptureFixture):
    expected = read(pets, memory_share=1.0)
    (cache,) = caches(pets)
    os.truncate(cache, size)
    assert_same_images(read(pets, memory_share=memory_share), expected)
    assert f"{cache} can't be read" in capsys.readouterr().out
    assert_same_images(read(pets, memory_share=memory_share), expected)
    assert capsys.readouterr().out == ""


def test_cache_of_another_shape_is_made_again(pets: Path, capsys: pytest.CaptureFixture):
    expected = read(pets)
    (cache,) = caches(pets)
    cache.unlink()
    assert disk_cache.store_bytes(cache.name, [cache.parent], (3, 8, 8), lambda images: None)
    assert_same_images(read(pets), expected)
    assert "holds something else" in capsys.readouterr().out


def test_cache_goes_to_the_user_where_the_data_folder_cannot_be_written(pets: Path, user_cache: Path):
    pets.with_name("pets-cache").write_text("a file where the folder should be")
    read(pets)
    assert len(list(user_cache.rglob("8px-*.npy"))) == 1


def full_disk(*_):
    raise OSError("No space left on device")


def test_without_a_cache_images_are_held_in_memory(
    pets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    expected = read(pets)
    caches(pets)[0].unlink()
    monkeypatch.setattr(disk_cache, "reserve", full_disk)
    assert_same_images(read(pets), expected)
    assert "No folder takes the cache 8px-" in capsys.readouterr().out
    assert caches(pets) == []


def test_too_many_images_without_room_for_a_cache_are_refused(pets: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk_cache, "reserve", full_disk)
    with pytest.raises(DataError, match=r"40 images of 8px take .* GB, more than data\.memory_share=0\.0"):
        read(pets, memory_share=0.0)


# Mapped images


def mapped_ranges(path: Path) -> list[range]:
    """Where in memory this process has mapped a file."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return [range(*(int(end, 16) for end in line[0].split("-"))) for line in lines if line[-1] == str(path)]


needs_maps = pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="only Linux tells what is mapped")


@needs_maps
def test_large_sets_are_views_of_the_mapped_file_and_small_ones_are_not(pets: Path):
    in_memory = read(pets, memory_share=1.0)
    (cache,) = caches(pets)
    assert not mapped_ranges(cache)
    mapped = read(pets, memory_share=0.0)
    (pages,) = mapped_ranges(cache)
    storages = {datamodule: {datamodule.split(split).images.untyped_storage().data_ptr() for split in SPLITS}
                for datamodule in (mapped, in_memory)}  # fmt: skip
    assert len(storages[mapped]) == len(storages[in_memory]) == 1
    assert all(mapped.split(split).images.data_ptr() in pages for split in SPLITS)
    assert in_memory.split("train").images.data_ptr() not in pages


def test_mapped_images_are_those_in_memory_batch_for_batch(pets: Path):
    mapped, in_memory = read(pets, memory_share=0.0), read(pets, memory_share=1.0)
    for name in SPLITS:
        loaders = [getattr(datamodule, f"{name}_dataloader")() for datamodule in (mapped, in_memory)]
        for ours, theirs in zip(*loaders, strict=True):
            assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.filterwarnings("error")
def test_mapping_warns_of_nothing(pets: Path):
    assert len(next(iter(read(pets, memory_share=0.0).train_dataloader()))[0]) == 4


def test_set_that_is_larger_than_memory_can_be_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disk_cache, "damage", lambda path, must_have: None)  # reading all of it takes a while
    shape = (2 * folder.machine_memory() // 3000, 3, 10, 100)
    sparse = np.lib.format.open_memmap(tmp_path / "large.npy", mode="w+", dtype=np.uint8, shape=shape)
    del sparse
    images = disk_cache.load_bytes("large.npy", [tmp_path], shape, mapped=True)
    assert images[torch.tensor([0, shape[0] - 1])].sum() == 0


def test_scoring_takes_all_training_images_without_a_copy(pets: Path):
    datamodule = read(pets, memory_share=0.0)
    scorer = Scorer(None, datamodule, num_fakes=None, num_train=None, batch_size=4, seed=0)
    assert scorer._train_images.data_ptr() == datamodule.split("train").images.data_ptr()
    some = Scorer(None, datamodule, num_fakes=None, num_train=5, batch_size=4, seed=0)
    assert len(some._train_images) == 5


def test_hash_of_images_is_that_of_their_bytes_however_they_lie():
    images = torch.randint(0, 256, (2500, 3, 2, 2), dtype=torch.uint8)
    expected = hashlib.sha256(b"(2500, 3, 2, 2)" + images.numpy().tobytes()).hexdigest()
    scattered = images.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert content_hash(images) == content_hash(scattered) == expected


class Mean(torch.nn.Module):
    protocol: ClassVar = {"extractor": "mean"}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(2, 3))


def test_two_folders_never_share_their_features(tmp_path: Path):
    mean = Mean()
    for name, seed in (("one", 0), ("two", 100)):
        root = tmp_path / name / "pictures"
        for number in range(5):
            write_image(root / f"{number}.png", seed + number)
        images = read(root).split("train").images
        features = cached_features(images, mean, 4, torch.device("cpu"), [tmp_path / "features"], "features")
        assert torch.equal(features, images.float().mean(dim=(2, 3)))
    assert len(list((tmp_path / "features").iterdir())) == 2


# Errors


def test_missing_and_empty_folders_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere can't be listed \(No such file or directory\); data\.root="):
        folder_at(tmp_path / "nowhere").num_test  # noqa: B018
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no images; set data\.root="):
        folder_at(tmp_path / "empty").class_names  # noqa: B018


@pytest.mark.parametrize(("count", "changes"), [(1, {}), (2, {}), (10, {"num_val": 5, "num_test": 5})])
def test_too_few_images_to_split_are_counted(count: int, changes: dict[str, int], tmp_path: Path):
    root = write_images(tmp_path / "few", ["."], count=count)
    with pytest.raises(DataError, match=rf"few has {count} images, too few to hold out . for test and . for val"):
        read(root, **changes)


@pytest.mark.parametrize("content", [b"not an image", b""])
def test_unreadable_image_is_named(content: bytes, pets: Path):
    (pets / "dogs" / "7.png").write_bytes(content)
    with pytest.raises(DataError, match=r"dogs/7\.png is no readable image .*Restore what is named or remove it"):
        read(pets)
    assert caches(pets) == []


def test_truncated_image_is_named(pets: Path):
    path = pets / "dogs" / "7.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"dogs/7\.png is no readable image"):
        read(pets)


def test_image_of_more_than_eight_bits_is_refused_rather_than_clipped(pets: Path):
    Image.fromarray(np.full((8, 8), 1000, dtype=np.uint16)).save(pets / "dogs" / "7.png")
    with pytest.raises(DataError, match=r"dogs/7\.png is no readable image \(its pixels have more than 8 bits"):
        read(pets)


def test_file_that_vanishes_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch):
    datamodule = folder_at(pets)
    gone = pets / datamodule.files.train[0]
    gone.unlink()
    with pytest.raises(DataError, match=rf"{gone} was listed and can't be found any more"):
        datamodule.setup()
    with pytest.raises(DataError, match=rf"{gone} is gone"):  # while others are decoded
        decode_file(gone, 8, 3, "white")


# Whole runs, and real images


def test_run_on_mapped_images_ends_with_the_weights_of_one_in_memory(tmp_path: Path, train_in):
    root = write_images(tmp_path / "pictures", ["a", "b"], count=200)
    common = ["data=folder", f"data.root={root}", "data.image_size=8", "network=mlp", "network.encoder.width=8",
              "network.decoder.width=8", "data.num_test=150", "data.num_val=150"]  # fmt: skip
    states = []
    for name, share in (("mapped", 0), ("memory", 1)):
        run = train_in(name, *common, f"data.memory_share={share}")
        states.append(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(weight, states[1][key]) for key, weight in states[0].items())


@needs_real("imagenette2-160")
def test_real_imagenette_as_a_folder_is_imagenette(tmp_path: Path):
    root = tmp_path / "imagenette2-160"
    root.symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
    datamodule = read(root, num_val=1000, memory_share=0.0)
    assert [len(datamodule.split(split).images) for split in SPLITS] == [8469, 1000, 3925]
    assert datamodule.num_classes == 10
    imagenette = Imagenette(root=str(tmp_path), image_size=8, batch_size=4, seed=0, split_seed=0, **PLAIN)
    imagenette.setup()
    for splits in (("test",), ("train", "val")):  # each draws its own images as val
        ours, theirs = ([(image.numpy().tobytes(), int(label)) for split in splits
                         for image, label in zip(*module.split(split), strict=True)]
                        for module in (datamodule, imagenette))  # fmt: skip
        assert sorted(ours) == sorted(theirs)

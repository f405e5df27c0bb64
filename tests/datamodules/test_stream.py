"""Shards: written whole or gone on with, read without an image twice or lost, in orders of seed and epoch alone."""

import json
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PROJECT
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import PLAIN, write_image, write_images, write_mnist_format
from torch import Tensor

from benchmarks.streaming import Noise
from datamodules import shard_reading, shard_writing
from datamodules.buckets import FetchError
from datamodules.folder import Folder
from datamodules.image_datamodule import DataError
from datamodules.shard_reading import batch_sizes
from datamodules.shard_writing import UNFINISHED, write_shards
from datamodules.shards import INDEX
from datamodules.sources import FolderSource, source_of
from datamodules.stream import Stream
from foundation.errors import ConfigError

SPLITS = ("train", "val", "test")
SHAPE = (3, 8, 8)
SHARD_MB = 0.002  # ten images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", ["a", "b"], count=60)


@pytest.fixture
def shards(images: Path, tmp_path: Path) -> Path:
    write(images, tmp_path / "shards")
    return tmp_path / "shards"


def write(images: Path, out: Path) -> Any:
    return write_shards(FolderSource(images, 8, 3, "white", 11, 12, 0), out, SHAPE, SHARD_MB, {"image_size": 8})


def stream(root: Path | str, **options: Any) -> Stream:
    given = {"batch_size": 7, "seed": 0, "split_seed": 0, "num_drawn": 1000, "num_workers": 0, "cache_gb": 1.0}
    return Stream(str(root), **{**given, **PLAIN, **options})


def keys(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def check_same_splits(near: Stream, far: Stream) -> None:
    """Read both, and hold their splits to the same images."""
    for datamodule in (near, far):
        datamodule.prepare_data()
        datamodule.setup()
    assert near.split_hashes == far.split_hashes
    for split in SPLITS:
        assert torch.equal(near.split(split).images, far.split(split).images)


def in_epoch(epoch: int, rank: int = 0, world_size: int = 1) -> Any:
    """What is asked of a Trainer that is in this epoch."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    return SimpleNamespace(global_rank=rank, world_size=world_size, fit_loop=SimpleNamespace(epoch_progress=progress))


def part_of_epoch(datamodule: Stream, epoch: int, rank: int = 0, world_size: int = 1) -> list[Tensor]:
    """The batches of one process, as a Trainer in this epoch asks for them."""
    datamodule.trainer = in_epoch(epoch, rank, world_size)
    loader = datamodule.train_dataloader()
    batches = [images for images, _ in loader]
    assert len(batches) == len(loader)
    return batches


# What is written


def test_shards_hold_the_images_labels_and_splits_of_the_folder(images: Path, shards: Path, tmp_path: Path):
    folder = Folder(str(images), 8, 3, 7, 0, 0, **PLAIN, background="white", num_val=11, num_test=12, memory_share=1.0)
    streamed = stream(shards)
    for datamodule in (folder, streamed):
        datamodule.prepare_data()
        datamodule.setup()
    assert streamed.class_names == folder.class_names and streamed.image_shape == folder.image_shape
    for split in SPLITS:
        ours, theirs = streamed.split(split), folder.split(split)
        assert sorted(zip(keys(ours.images), ours.labels.tolist(), strict=True)) == sorted(
            zip(keys(theirs.images), theirs.labels.tolist(), strict=True)
        )
    assert (streamed.num_val, streamed.num_test, streamed.num_images("train")) == (11, 12, 97)


def test_interrupted_writing_goes_on_and_ends_as_if_it_had_not_been(images: Path, tmp_path: Path, monkeypatch):
    write(images, tmp_path / "whole")
    done: list[str] = []
    real = shard_writing.write_shard

    def killed(source, chosen, out, split, number):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(f"{split}-{number}")
        real(source, chosen, out, split, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_writing, "write_shard", killed)
        write(images, tmp_path / "shards")
    assert not (tmp_path / "shards" / INDEX).exists()
    with pytest.raises(DataError, match=r"has no images\.json.* It is unfinished: the command that began it goes on"):
        stream(tmp_path / "shards").prepare_data()
    with monkeypatch.context() as patch:
        written: list[str] = []
        patch.setattr(shard_writing, "write_shard", lambda *a: (written.append(f"{a[3]}-{a[4]}"), real(*a)))
        write(images, tmp_path / "shards")
    assert len(done) == 4 and not set(done) & set(written)
    names = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*"))
    assert names == sorted(path.relative_to(tmp_path / "shards") for path in (tmp_path / "shards").rglob("*"))
    for name in names:
        if (tmp_path / "whole" / name).is_file():
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "shards" / name).read_bytes(), name


def test_finished_folder_and_a_strangers_are_left_as_they_are(images: Path, shards: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="holds prepared images already"):
        write(images, shards)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"holds something else, such as thesis\.txt"):
        write(images, tmp_path / "mine")


def test_folder_that_was_begun_with_other_images_is_not_gone_on_with(images: Path, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_writing, "write_shard", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        write(images, tmp_path / "shards")
    assert (tmp_path / "shards" / UNFINISHED).is_dir()
    write_image(images / "a" / "new.png", 1000)
    with pytest.raises(ConfigError, match=r"begun with other images or settings \(fingerprint\)"):
        write(images, tmp_path / "shards")


def test_messages_name_the_settings_of_the_program_that_writes(images: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "empty", "images="), (tmp_path / "none", "images= wants a folder of images")):
        with pytest.raises(DataError, match=message) as raised:
            write(folder, tmp_path / "shards")
        assert "data." not in str(raised.value)
    with pytest.raises(DataError, match="give smaller num_test and num_val"):
        write_shards(FolderSource(images, 8, 3, "white", 9999, 9999, 0), tmp_path / "shards", SHAPE, SHARD_MB, {})


def test_broken_images_are_named_and_what_to_do_about_them(images: Path, tmp_path: Path):
    (images / "a" / "7.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"7\.png is no readable image(?s:.*)remove it too, and run again"):
        write(images, tmp_path / "shards")
    (images / "a" / "7.png").unlink()
    write_image(images / "a" / "7.png", 7)
    with pytest.raises(ConfigError, match="fingerprint"):
        write(images, tmp_path / "shards")


def test_torchvisions_data_is_read_with_its_own_splits(tmp_path: Path):
    contents = write_mnist_format(tmp_path / "MNIST" / "raw")
    source = source_of("torchvision:MNIST", tmp_path, 28, 1, "white", 10, None, 0)
    assert {split: len(found) for split, found in source.splits.items()} == {"train": 50, "val": 10, "test": 20}
    image, label = source.read("test/3")
    assert torch.equal(image[0], torch.from_numpy(contents["t10k-images-idx3-ubyte"][3].copy()))
    assert label == contents["t10k-labels-idx1-ubyte"][3] and len(source.class_names) == 10
    for name in ("folder", "Nothing", "datasets"):
        with pytest.raises(ConfigError, match=f"torchvision:{name} is no data set"):
            source_of(f"torchvision:{name}", tmp_path, 28, 1, "white", None, None, 0)


def test_hugging_faces_data_is_read_from_a_folder(images: Path, tmp_path: Path):
    datasets = pytest.importorskip("datasets", reason="the extra huggingface is not installed")
    paths = sorted(images.rglob("*.png"))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [str(path) for path in paths], "label": [path.parent.name for path in paths]}
    saved = datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)})
    saved.save_to_disk(str(tmp_path / "saved"))
    source = source_of(f"huggingface:{tmp_path / 'saved'}", tmp_path, 8, 3, "white", 11, 12, 0)
    files = FolderSource(images, 8, 3, "white", 11, 12, 0)
    assert {split: len(found) for split, found in source.splits.items()} == {"train": 97, "val": 11, "test": 12}
    image, label = source.read("train/70")
    expected = files.read(str(paths[70].relative_to(images)))
    assert torch.equal(image, expected[0]) and label == expected[1] and source.class_names == ("a", "b")


# What is damaged


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / INDEX).write_bytes((root / INDEX).read_bytes().replace(b'"a"', b'"c"')), "CRC-32"),
        (lambda root: (root / INDEX).unlink(), r"has no images\.json.* Write the images into a new folder"),
        (lambda root: shutil.rmtree(root), r"There is no such folder"),
        (lambda root: (root / "train" / "chunk-0-1.bin").unlink(), r"chunk-0-1\.bin is missing"),
        (lambda root: flip(root / "val" / "chunk-0-0.bin"), r"chunk-0-0\.bin is damaged: its sha256"),
        (lambda root: (root / "test" / "chunk-0-0.bin").write_bytes(b"short"), r"is damaged: it has 5 bytes"),
        (lambda root: (root / "train" / "index.json").write_text("{}"), r"index\.json can't be read"),
        (lambda root: shutil.copy(root / "val" / "index.json", root / "train"), "lists other shards"),
    ],
)
def test_damage_is_told_before_anything_is_read(damage, message: str, shards: Path):
    damage(shards)
    with pytest.raises(DataError, match=message):
        stream(shards).prepare_data()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_shards_are_checked_again_only_after_they_were_changed(shards: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[Path] = []
    monkeypatch.setattr("datamodules.stream.check_content", lambda path, shard: read.append(path))
    stream(shards).prepare_data()
    first = len(read)
    stream(shards).prepare_data()
    assert first == len(list(shards.rglob("*.bin"))) == len(read)
    flip(shards / "val" / "chunk-0-0.bin")
    stream(shards).prepare_data()
    assert len(read) == 2 * first


def test_index_of_a_newer_format_is_refused(shards: Path):
    from datamodules.shards import read_index, write_index

    write_index(read_index(str(shards)).model_copy(update={"format": 2}), shards)
    with pytest.raises(DataError, match="it is of format 2, and this version reads 1"):
        stream(shards).prepare_data()


# What is read


def test_epoch_is_a_permutation_of_its_own_that_seed_and_epoch_repeat(shards: Path):
    held = stream(shards)
    held.setup()
    epochs = [keys(torch.cat(part_of_epoch(stream(shards), epoch))) for epoch in (0, 1, 0)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(keys(held.split("train").images))
    assert epochs[0] != epochs[1] and epochs[0] == epochs[2]
    assert keys(torch.cat(part_of_epoch(stream(shards, seed=1), 0))) != epochs[0]
    written = keys(held.split("train").images)
    places = [written.index(key) // 10 for key in epochs[0]]  # the shard of each image
    assert places != sorted(places) and len(set(places[:10])) <= 2  # shards change places
    within = [written.index(key) % 10 for key in epochs[0][:10]]
    assert within != sorted(within)  # and images within them


def test_loader_without_a_trainer_goes_through_the_epochs(shards: Path):
    loader = stream(shards).train_dataloader()
    first, second = (keys(torch.cat([images for images, _ in loader])) for _ in range(2))
    assert sorted(first) == sorted(second) and first != second


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [7, 48])  # 97 images: with 48, one process has a batch of one image more
def test_two_processes_of_two_workers_see_every_image_once_in_as_many_batches(batch_size: int, shards: Path):
    parts = [
        part_of_epoch(stream(shards, num_workers=2, batch_size=batch_size), 3, rank, world_size=2) for rank in (0, 1)
    ]
    held = stream(shards)
    held.setup()
    seen = [key for part in parts for batch in part for key in keys(batch)]
    assert sorted(seen) == sorted(keys(held.split("train").images))
    assert len(parts[0]) == len(parts[1])
    again = part_of_epoch(stream(shards, num_workers=2, batch_size=batch_size), 3, 1, world_size=2)
    assert [keys(batch) for batch in again] == [keys(batch) for batch in parts[1]]


def test_worker_that_hangs_ends_the_epoch(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_reading, "STALLED", 1)
    monkeypatch.setattr(shard_reading.ShardBatches, "__iter__", lambda self: iter([time.sleep(3)]))
    with pytest.raises(FetchError, match=r"data\.num_workers=1: no batch has come for 1 seconds"):
        part_of_epoch(stream(shards, num_workers=1), 0)


@given(total=st.integers(8, 5000), batch_size=st.integers(2, 300), world=st.integers(1, 8), workers=st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_batches_share_out_all_images(total: int, batch_size: int, world: int, workers: int):
    sizes = batch_sizes(total, batch_size, world, workers)
    assert sum(sum(of_worker) for of_worker in sizes) == total
    processes = [sizes[rank * workers : (rank + 1) * workers] for rank in range(world)]
    assert len({sum(map(len, process)) for process in processes}) == 1
    images = [sum(map(sum, process)) for process in processes]
    assert max(images) - min(images) <= 1
    assert all(1 <= size <= batch_size for of_worker in sizes for size in of_worker)


def test_shards_behind_a_url_are_fetched_and_are_the_same(shards: Path, tmp_path: Path):
    near, far = stream(shards), stream(f"local:{shards}")
    assert far.source == f"local:{shards}"
    check_same_splits(near, far)
    assert [keys(batch) for batch in part_of_epoch(near, 1)] == [keys(batch) for batch in part_of_epoch(far, 1)]
    with pytest.raises(DataError, match=r"has no images\.json"):
        stream(f"local:{tmp_path}").prepare_data()


def test_part_of_train_is_held_and_all_of_it_is_counted(shards: Path):
    datamodule = stream(shards, num_drawn=20)
    datamodule.setup()
    assert len(datamodule.split("train").images) == 20 and datamodule.num_images("train") == 97
    assert datamodule.split_hashes["train"].images == 97
    assert "97 train" in datamodule.summary and "20 of train are held" in datamodule.summary
    assert len(torch.cat(part_of_epoch(datamodule, 0))) == 97


MEMORY = """
import sys
from pathlib import Path
import torch
sys.path[:0] = ["{tests}"]
from benchmarks.streaming import private_megabytes
from datamodules.stream import Stream
folder, count = Path(sys.argv[1]), int(sys.argv[2])
data = Stream(str(folder), batch_size=64, seed=0, split_seed=0, device="cpu", horizontal_flip=False, binarize=False,
              num_drawn=100, num_workers=0, cache_gb=1.0)
data.prepare_data(); data.setup()
before, seen = private_megabytes("self"), 0
for images, _ in data.train_dataloader():
    seen += len(images)
assert seen == count
print(private_megabytes("self") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux alone says what memory is private")
def test_memory_of_an_epoch_does_not_grow_with_the_data(tmp_path: Path):
    script = tmp_path / "memory.py"
    script.write_text(textwrap.dedent(MEMORY.format(tests=PROJECT / "tests")))
    grown = []
    for count in (500, 5_000):  # 6 and 61 MB, written here: what writing leaves to be freed is none of reading's memory
        write_shards(Noise(count, 64), tmp_path / str(count), (3, 64, 64), 2, {})
        ended = subprocess.run(
            [sys.executable, str(script), str(tmp_path / str(count)), str(count)],
            cwd=PROJECT, env={"PYTHONPATH": str(PROJECT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
                              "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        grown.append(float(ended.stdout.splitlines()[-1]))
    assert grown[1] - max(grown[0], 0) < 15, grown  # of the 55 MB that there are more


def test_litdata_itself_reads_the_shards(shards: Path):
    from litdata import StreamingDataset

    assert len(list(StreamingDataset(str(shards / "train"), batch_decode=0))) == 97
    listed = json.loads((shards / "train" / "index.json").read_text())
    assert listed["config"]["item_loader"] == "PyTreeLoader"

"""Shards in a bucket: the images of its folder, checked, in the room they are given; errors that say what to do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from botocore.exceptions import ClientError
from botocore.paginate import Paginator
from s3_servers import Server, environment, s3_server
from small_data import write_images
from test_stream import check_same_splits, flip, in_epoch, keys, part_of_epoch, stream, write

from benchmarks.streaming import Noise
from datamodules import shard_reading
from datamodules.buckets import Bucket, FetchError, UnreachableError
from datamodules.image_datamodule import DataError
from datamodules.shard_cache import ShardCache
from datamodules.shard_writing import write_shards
from datamodules.shards import read_index
from foundation.errors import ConfigError, UserError

SMALL_GB = 1e-5  # half of train


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    with s3_server(port, tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write(write_images(folder / "images", ["a", "b"], count=60), folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def url(server: Server, shards: Path) -> str:
    return server.put("whole", shards)


@pytest.fixture(autouse=True)
def settings(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment(server.endpoint), "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)


def test_bucket_has_the_images_and_epochs_of_its_folder(shards: Path, url: str):
    near, far = stream(shards), stream(url)
    check_same_splits(near, far)
    for epoch in (0, 1):
        ours, theirs = (part_of_epoch(datamodule, epoch) for datamodule in (far, near))
        assert [keys(batch) for batch in ours] == [keys(batch) for batch in theirs]


class Few(Noise):
    @property
    def splits(self) -> dict[str, list[str]]:
        return {split: keys if split == "train" else keys[:10] for split, keys in super().splits.items()}


def test_shards_that_have_no_room_go_once_they_are_read_and_are_fetched_again(server: Server, tmp_path: Path):
    write_shards(Few(2000, 64), tmp_path / "shards", (3, 64, 64), 1, {})  # 25 in train; litdata bounds 10 MB and more
    options = {"num_workers": 2, "batch_size": 50, "num_drawn": 50}
    far = stream(server.put("large", tmp_path / "shards"), cache_gb=0.0205, **options)
    far.prepare_data()
    most, before = 0, len(server.fetched("large/shards/train/chunk"))
    for epoch in (0, 1):
        far.trainer = in_epoch(epoch)
        near = part_of_epoch(stream(tmp_path / "shards", **options), epoch)
        for batch, (images, _) in zip(near, far.train_dataloader(), strict=True):
            assert torch.equal(images, batch)
            most = max(most, len(list((tmp_path / "cache").rglob("chunk-*.bin"))))  # of a megabyte each
    assert 8 < most <= 23
    fetched = server.fetched("large/shards/train/chunk")[before:]
    assert len(set(fetched)) == len(list((tmp_path / "shards" / "train").glob("*.bin"))) == 25
    assert 2 * 25 <= len(fetched) <= 2 * (25 + 1)  # one that both workers read is fetched by both


def test_abandoned_epoch_leaves_room_for_the_next(url: str, shards: Path):
    far = stream(url, cache_gb=SMALL_GB)
    for _ in range(3):
        next(iter(far.train_dataloader()))
    assert [keys(batch) for batch in part_of_epoch(far, 0)] == [
        keys(batch) for batch in part_of_epoch(stream(shards), 0)
    ]


@pytest.mark.parametrize(
    ("root", "variables", "kind", "message"),
    [
        ("s3://no-such-bucket/shards", {}, FetchError, "there is no bucket no-such-bucket; check its name"),
        ("s3://whole/others", {}, DataError, r"has no images\.json.*aws s3 sync shards s3://whole/others"),
        ("s3://whole/shards", {"AWS_ACCESS_KEY_ID": ""}, FetchError, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("s3://whole/shards", {"AWS_PROFILE": "mine"}, FetchError, r"mine.*AWS_PROFILE="),
        ("s3://whole/shards", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, UnreachableError, "check the network"),
        ("s3://user:swordfish@whole/shards", {}, ConfigError, "holds no user and no password"),
        ("s3:///shards", {}, ConfigError, "names no bucket"),
        ("r2://whole/shards", {}, ConfigError, "AWS_ENDPOINT_URL="),
        ("azure://whole/shards", {}, ConfigError, "can't be read from azure://"),
    ],
)
def test_bucket_that_cant_be_read_is_named_with_what_to_do(
    root: str, variables: dict[str, str], kind: type, message: str, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(kind, match=message) as raised:
        stream(root).prepare_data()
    assert "swordfish" not in str(raised.value)


def test_refusal_names_credentials_and_a_bucket_that_cant_be_listed_is_read(url: str, monkeypatch: pytest.MonkeyPatch):
    answer = {"Error": {"Code": "403", "Message": "Forbidden"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    def refuse(*_: object, **__: object) -> None:
        raise ClientError(answer, "HeadObject")

    with monkeypatch.context() as patch, pytest.raises(FetchError, match=r"Forbidden.*; set AWS_ACCESS_KEY_ID"):
        patch.setattr(Bucket, "_read", refuse)
        stream(url).prepare_data()
    monkeypatch.setattr(Paginator, "paginate", refuse)
    assert Bucket(url).sizes("train") is None
    stream(url).prepare_data()


def test_google_buckets_need_their_library():
    with pytest.raises(ConfigError, match="pip install google-cloud-storage"):
        Bucket("gs://bucket/shards")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "train" / "chunk-0-1.bin").unlink(), r"/train/chunk-0-1\.bin is missing"),
        (lambda root: (root / "test" / "chunk-0-0.bin").write_bytes(b"short"), r"damaged: it has 5 bytes, not"),
        (lambda root: flip(root / "val" / "chunk-0-0.bin"), r"/val/chunk-0-0\.bin is damaged: its sha256"),
        (lambda root: shutil.copy(root / "val" / "index.json", root / "train"), "lists other shards"),
        (lambda root: flip(root / "images.json"), "CRC-32"),
    ],
)
def test_damage_in_a_bucket_is_told_before_training(
    damage: Callable[[Path], None], message: str, request: pytest.FixtureRequest, server: Server, shards: Path,
    tmp_path: Path,
):  # fmt: skip
    shutil.copytree(shards, tmp_path / "shards")
    damage(tmp_path / "shards")
    name = f"damaged-{abs(hash(request.node.name))}"
    with pytest.raises(DataError, match=message):
        stream(server.put(name, tmp_path / "shards")).prepare_data()


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_that_training_meets_ends_it_with_one_message(
    workers: int, server: Server, shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    shutil.copytree(shards, tmp_path / "shards")
    flip(tmp_path / "shards" / "train" / "chunk-0-9.bin")
    root = server.put(f"flipped-{workers}", tmp_path / "shards")
    far = stream(root, num_drawn=0, num_workers=workers)
    far.prepare_data()
    with pytest.raises(FetchError, match=rf"^{root}/train/chunk-0-9\.bin is damaged: its sha256") as raised:
        part_of_epoch(far, 0)
    assert "Traceback" not in str(raised.value) + capfd.readouterr().err


def test_other_images_at_the_same_place_are_fetched_anew(server: Server, shards: Path, tmp_path: Path):
    root = server.put("replaced", shards)
    before = stream(root)
    before.setup()
    part_of_epoch(before, 0)
    write(write_images(tmp_path / "images", ["c", "d", "e"], count=50), tmp_path / "others")
    server.put("replaced", tmp_path / "others")
    ours, theirs = (part_of_epoch(stream(place), 0) for place in (root, tmp_path / "others"))
    assert [keys(batch) for batch in ours] == [keys(batch) for batch in theirs]


def test_server_that_goes_away_ends_an_epoch_and_one_that_returns_does_not(
    free_port: int, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shard_reading, "PAUSE", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    whole = [keys(batch) for batch in part_of_epoch(stream(shards), 0)]
    fetch, failed = Bucket.fetch, []

    def fails_at_first(self: Bucket, name: str, path: Path) -> None:
        if "chunk" in name and name not in failed:
            failed.append(name)
            raise UnreachableError("")
        fetch(self, name, path)

    with s3_server(free_port, tmp_path) as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.endpoint)
        far = stream(own.put("leaving", shards), cache_gb=SMALL_GB)
        far.setup()
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "fetch", fails_at_first)
            assert [keys(batch) for batch in part_of_epoch(far, 0)] == whole and len(failed) == 10
        monkeypatch.setattr(shard_reading, "PATIENCE", 0.1)
        batches = iter(far.train_dataloader())
        next(batches)
        own.stop()
        with pytest.raises(UnreachableError, match=r"train/chunk-0-\d\.bin can't be fetched.*check the network"):
            list(batches)


def test_what_a_killed_process_left_goes_when_nobody_else_is_there(shards: Path):
    split = read_index(str(shards)).splits["train"]
    first = ShardCache(split, split.bytes)
    shutil.copy(shards / "train" / "chunk-0-0.bin", first.folder)
    for left in ("chunk-0-1.bin", "chunk-0-0.bin.cnt", "chunk-0-2.bin.tmp.7"):
        (first.folder / left).write_bytes(b"left")
    (first.folder / "0-abc-0").mkdir()
    second = ShardCache(split, split.bytes)
    assert second.folder == first.folder and len(list(first.folder.iterdir())) == 5
    del first, second
    assert [path.name for path in ShardCache(split, split.bytes).folder.iterdir()] == ["chunk-0-0.bin"]
    without_room = ShardCache(split, split.bytes - 1)
    assert not without_room.fits and not list(without_room.folder.iterdir())


def test_cache_that_holds_too_few_shards_is_refused(url: str):
    with pytest.raises(ConfigError, match=r"data\.cache_gb: of 3 that read .* give at least 2\.\de-05, not 1e-05"):
        stream(url, cache_gb=SMALL_GB, num_workers=3).prepare_data()


def test_without_a_cache_folder_nothing_is_fetched(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datamodules.shard_cache.user_caches", lambda: [])
    with pytest.raises(UserError, match="XDG_CACHE_HOME=<folder>"):
        stream(url).prepare_data()

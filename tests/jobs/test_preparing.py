"""prepare.py, and what train.py makes of what it has written: from images to a resumed run."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from conftest import composed
from run_results import weights
from s3_servers import SECRET, environment, s3_server
from small_data import write_images

from foundation.errors import ConfigError
from jobs.paths import make_absolute
from jobs.preparing import prepare

SMALL = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16", "data.batch_size=16",
         "scores=none", "callbacks.likelihood=null"]  # fmt: skip


@pytest.fixture
def shards(tmp_path: Path, capsys: pytest.CaptureFixture) -> Path:
    images = write_images(tmp_path / "images", ["a", "b"], count=40)
    out = tmp_path / "shards"
    prepare(composed(f"images={images}", f"out={out}", "image_size=8", "shard_mb=0.002", config="prepare"))
    said = capsys.readouterr().out
    assert "2 classes" in said and f"train.py data=stream data.root={out}" in said
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "in_bucket"), [(0, False), (2, True)])
def test_streaming_run_that_is_resumed_ends_with_the_weights_of_one_that_was_not(
    workers: int, in_bucket: bool, shards: Path, train_in: Callable[..., Path], free_port: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    options = ["data=stream", f"data.num_workers={workers}", *SMALL]
    whole = train_in("whole", *options, f"data.root={shards}", "trainer.max_epochs=3")
    with s3_server(free_port, tmp_path) if in_bucket else nullcontext() as server:
        root: Path | str = shards
        if server:
            root = server.put("bucket", shards)
            for name, value in environment(server.endpoint).items():
                monkeypatch.setenv(name, value)
        first = train_in("first", *options, f"data.root={root}", "trainer.max_epochs=1")
        last = first / "checkpoints" / "last.ckpt"
        train_in("first", *options, f"data.root={root}", "trainer.max_epochs=3", f"ckpt_path={last}")
    ours, theirs = weights(first, "last.ckpt"), weights(whole, "last.ckpt")
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.equal(weight, theirs[key]), key
    assert not [path for path in first.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("image_size=0", "image_size: "),
        ("channels=2", "channels: "),
        ("num_val=1", "num_val: "),
        ("out=''", "out: "),
        ("out=s3://bucket/shards", "aws s3 sync <folder> s3://bucket/shards"),
    ],
)
def test_settings_out_of_range_are_refused(override: str, message: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        prepare(composed(f"images={tmp_path}", f"out={tmp_path / 'out'}", override, config="prepare"))
    assert not (tmp_path / "out").exists()


def test_url_among_the_settings_stays_one(tmp_path: Path):
    cfg = composed("data=stream", "data.root=s3://bucket/shards", run_dir=tmp_path)
    make_absolute(cfg)
    assert cfg.data.root == "s3://bucket/shards"

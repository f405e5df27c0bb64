"""The animation of a run: whole, small, and there however training ends."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import animation
from callbacks.animation import ENCODINGS, encoded, on_one_canvas, opened, webp
from jobs.stopping import Stopped

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16", "scores=none"]


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as file:
        found = []
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            found.append(np.asarray(file.convert("RGB")))
        return found


def kept(run: Path) -> list[np.ndarray]:
    paths = sorted((run / "pictures" / "samples_fixed").glob("epoch_*.png"))
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def assert_shows(run: Path, epochs: int) -> None:
    expected, shown = kept(run), frames_of(run / "pictures" / "training.webp")
    assert len(expected) == len(shown) == epochs
    for ours, theirs in zip(expected, shown, strict=True):
        assert np.array_equal(ours, theirs)  # lossless, for digits are small


def test_a_run_has_a_frame_for_each_of_its_pictures(train_in):
    assert_shows(train_in("run", *MLP, "trainer.max_epochs=3"), 3)


@pytest.mark.parametrize("place", ["part", "elsewhere"])
def test_a_resumed_runs_animation_is_whole(place: str, train_in):
    part = train_in("part", *MLP)
    last = f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}"
    resumed = train_in(place, *MLP, "trainer.max_epochs=4", last)
    assert_shows(resumed, 4)
    whole = train_in("whole", *MLP, "trainer.max_epochs=4")
    ours, theirs = (run / "pictures" / "training.webp" for run in (resumed, whole))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_run_that_goes_on_from_an_earlier_epoch_shows_none_of_the_later_ones(train_in):
    first = train_in("run", *MLP, "trainer.max_epochs=2")
    stray = first / "pictures" / "samples_fixed" / "epoch_0005.png"
    Image.new("RGB", (10, 10)).save(stray)
    last = f"ckpt_path={first / 'checkpoints' / 'last.ckpt'}"
    train_in("run", *MLP, "trainer.max_epochs=4", last)
    stray.unlink()
    assert_shows(first, 4)


def test_a_run_that_is_stopped_has_one_and_ends_by_what_has_stopped_it(
    train_in, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from callbacks.sample_grid import SampleGrid

    drawn = SampleGrid.on_train_epoch_end

    def stopping(self, trainer, pl_module):
        drawn(self, trainer, pl_module)
        if trainer.current_epoch == 2:
            raise Stopped(15, "go on")

    monkeypatch.setattr(SampleGrid, "on_train_epoch_end", stopping)
    with pytest.raises(Stopped):
        train_in("run", *MLP, "trainer.max_epochs=9")
    assert_shows(tmp_path / "run", 3)
    monkeypatch.setattr(animation, "encoded", lambda frames: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(Stopped):
        train_in("other", *MLP, "trainer.max_epochs=9")


def test_a_run_of_one_picture_has_no_animation(train_in):
    assert not (train_in("run", *MLP, "trainer.max_epochs=1") / "pictures" / "training.webp").exists()


def test_frames_are_spread_over_all_pictures_and_damaged_ones_are_passed_over(tmp_path: Path):
    paths = []
    for index in range(21):
        paths.append(tmp_path / f"{index}.png")
        Image.new("RGB", (4, 4), (index, 0, 0)).save(paths[-1])
    assert [frame.getpixel((0, 0))[0] for frame in opened(paths, 5)] == [0, 5, 10, 15, 20]
    paths[10].write_bytes(b"no picture")
    assert [frame.getpixel((0, 0))[0] for frame in opened(paths, 5)] == [0, 5, 15, 20]
    Image.new("RGB", (3000, 30)).save(paths[0])
    assert next(opened(paths, 2)).size == (800, 8)


def test_grids_lie_in_one_place_whatever_stands_above_them():
    small, large = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 9), "blue")
    first, second = on_one_canvas([small, large])
    assert first.size == second.size == (4, 9)
    assert first.getpixel((0, 8)) == (255, 0, 0) and first.getpixel((0, 4)) == (255, 255, 255)


def test_an_animation_is_never_larger_than_can_be_shown(monkeypatch: pytest.MonkeyPatch):
    noise = torch.randint(0, 256, (6, 200, 200, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    frames = [Image.fromarray(frame.numpy()) for frame in noise]
    exact = len(encoded(frames))
    monkeypatch.setattr(animation, "LARGEST", exact // 3)
    assert len(encoded(frames)) <= exact // 3
    monkeypatch.setattr(animation, "LARGEST", len(webp(frames[-1:], ENCODINGS[-1])) * 4)
    fewer = Image.open(io.BytesIO(encoded(frames)))
    assert fewer.n_frames == 3
    fewer.seek(2)  # the last one is among them
    errors = [np.abs(np.asarray(fewer.convert("RGB")).astype(int) - np.asarray(frame)).mean() for frame in frames]
    assert errors.index(min(errors)) == 5

"""What one sees of a run while it is trained: a bar over all of its epochs, or lines in a log."""

import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from io import StringIO
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from conftest import TinyImages
from lightning import Callback
from small_models import SHAPE, build, fit, random_batch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from callbacks.progress_bar import LoopProgress, ProgressBar
from foundation.progress import Job, progress_of

LINE = re.compile(r"epoch (\d+)/(\d+) .*\((\d[\d,]*) images/s(, \d\d:\d\d left)?\)")


def test_a_log_has_a_line_for_each_tenth_with_pace_and_time_left(capsys: pytest.CaptureFixture):
    fit(build("model=gan"), None, ProgressBar(10), max_epochs=20, enable_progress_bar=True)
    found = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert all(found) and [int(line[1]) for line in found if line] == [*range(2, 21, 2)]
    assert [bool(line[4]) for line in found if line] == 9 * [True] + [False]  # at the end nothing is left


def test_a_terminal_has_one_bar_for_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    bar = ProgressBar(1)
    trainer = fit(build("model=gan"), None, bar, max_epochs=3, enable_progress_bar=True)
    shown, batches = bar.train_progress_bar, trainer.num_training_batches
    assert batches > 1 and (shown.n, shown.total) == (3 * batches, 3 * batches)
    said = capsys.readouterr().out
    assert "epoch 3/3" in said and "100%" in said and "images/s" in said and "d_real=" in said
    assert not LINE.search(said)
    # A share of the run, not of the epoch, which after its first batch is small.
    assert f"{100 / (3 * batches):.0f}%" in said


def test_a_bar_is_drawn_as_often_as_one_sees_it_move(monkeypatch: pytest.MonkeyPatch):
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    drawn = {}
    for seconds in (0.01, 1.0):  # that a batch takes
        clock = count(step=seconds / 2)
        monkeypatch.setattr("callbacks.progress_bar.time", SimpleNamespace(monotonic=lambda clock=clock: next(clock)))
        bar = ProgressBar(1)
        told = Mock(wraps=bar.get_metrics)
        monkeypatch.setattr(bar, "get_metrics", told)
        trainer = fit(build("model=vae"), TinyImages(SHAPE, batch_size=1), bar, enable_progress_bar=True)
        assert bar.train_progress_bar.n == trainer.num_training_batches
        drawn[seconds] = told.call_count
    assert drawn[1.0] >= trainer.num_training_batches > 2 * drawn[0.01]  # which is drawn for the last one, too


def test_lines_of_a_job_of_a_sweep_have_its_name(capsys: pytest.CaptureFixture):
    with progress_of(Job("gan-conv-digits/seed0", has_terminal=False)):
        fit(build("model=gan"), None, ProgressBar(10), max_epochs=2, enable_progress_bar=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "epoch" in line]
    assert len(lines) == 2 and all(line.startswith("[gan-conv-digits/seed0] epoch ") for line in lines)


def test_the_pace_is_that_of_images(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("callbacks.progress_bar.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    model = build("model=gan")
    fit(model, None, ProgressBar(10), max_epochs=2, enable_progress_bar=True)
    first, last = (LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines() if line.startswith("epoch"))
    assert first is not None and last is not None
    assert first[4] == ", 00:10 left"
    assert int(last[3]) == round(model.images_seen / 20)


class OfUnknownLength(IterableDataset):
    """Images one after another, which do not say how many they are."""

    def __init__(self, images: list[tuple[Tensor, Tensor]]) -> None:
        self.images = images

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.images)


class OfUnknownVal(TinyImages):
    def val_dataloader(self) -> DataLoader:
        batch = random_batch(16)
        assert batch.labels is not None
        return DataLoader(OfUnknownLength(list(zip(batch.images, batch.labels, strict=True))), batch_size=4)


class Failing(Callback):
    def on_validation_batch_end(self, *_: Any) -> None:
        raise RuntimeError("amid val")


def test_val_of_unknown_length_is_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setattr("foundation.progress.LINE_OF_UNKNOWN_AFTER", 0.0)
    fit(build("model=gan"), OfUnknownVal(SHAPE), LoopProgress())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("val")]
    assert lines == [f"val {done} batches" for done in range(1, 5)]


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("data", [TinyImages, OfUnknownVal])
def test_the_bar_of_val_is_gone_when_val_is_however_it_ended(
    failing: bool, data: type[TinyImages], monkeypatch: pytest.MonkeyPatch
):
    bars: list[tqdm] = []

    def bar(**options: Any) -> tqdm:
        bars.append(tqdm(**(options | {"file": StringIO(), "delay": 0})))
        return bars[-1]

    monkeypatch.setattr("foundation.progress.shows_bars", lambda: True)
    monkeypatch.setattr("foundation.progress.tqdm", bar)
    with pytest.raises(RuntimeError, match="amid val") if failing else nullcontext():
        fit(build("model=gan"), data(SHAPE), LoopProgress(), *[Failing()] * failing)
    (shown,) = bars
    assert shown.disable  # what tqdm calls a bar that is closed

"""Loops are timed in processes of their own, in turns, and no time is counted but that of steps."""

import os
import time
from itertools import groupby
from pathlib import Path

import pytest
import torch
from lightning import Callback, Trainer
from omegaconf import DictConfig

from benchmarks import loops
from benchmarks.apart import LostLoop, Timed, median_ratio, middle_half, timed_in_turns
from benchmarks.timing import Loop, StepTimer, seconds_of
from datamodules.image_datamodule import ImageDataModule
from jobs.composition import composed

CPU = torch.device("cpu")


def noting(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    while timer.begins_step(CPU):
        with open(Path(cfg.run_dir, "steps"), "a") as file:
            print(os.getpid(), file=file)
    return True


def unable(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    return False


def failing(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    timer.begins_step(CPU)
    raise ValueError("no step can be made")


def lost(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
    os._exit(9)


def test_each_loop_has_a_process_of_its_own_and_takes_turns(tmp_path: Path):
    chosen = {"one": noting, "none": unable, "other": noting}
    cfg = composed("data=digits")
    cfg.run_dir = str(tmp_path)
    timed = timed_in_turns(chosen, cfg, warm_up=2, steps=3, turns=2, threads=1)
    steps = (tmp_path / "steps").read_text().split()
    one, other = dict.fromkeys(steps)
    assert str(os.getpid()) not in steps
    assert [(process, len(list(same))) for process, same in groupby(steps)] == [
        (one, 2), (other, 2), (one, 3), (other, 3), (one, 3), (other, 3),
    ]  # fmt: skip
    assert list(timed) == ["one", "other"]
    assert all(len(each.seconds) == 2 and min(each.seconds) > 0 and each.peak_memory > 0 for each in timed.values())


@pytest.mark.parametrize(
    ("loop", "words"), [(failing, "the loop bad failed: (.*\n)*.*no step can be made"), (lost, "of the loop bad ended")]
)
def test_a_loop_that_fails_ends_the_benchmark_by_its_name(loop: Loop, words: str):
    with pytest.raises(LostLoop, match=words):
        timed_in_turns({"bad": loop}, composed("data=digits"), warm_up=1, steps=1, turns=1, threads=1)


def test_ratios_are_of_turns_beside_each_other():
    slowed = Timed([1.0, 8.0, 2.0], 0), Timed([0.5, 4.0, 2.0], 0)  # of the machine, for a while
    assert median_ratio(*slowed) == 2.0
    assert middle_half(*slowed) == (1.0, 2.0)
    assert middle_half(Timed([3.0], 0), Timed([2.0], 0)) == (1.5, 1.5)


def test_only_steps_are_timed(monkeypatch: pytest.MonkeyPatch):
    clock, blocks, found = [0.0], iter([2, 3, 0]), []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def next_block(seconds: float | None) -> int:
        clock[0] += 1000  # others have their turn
        found.append(seconds)
        return next(blocks)

    timer = StepTimer(next_block)
    for _ in range(3):
        assert timer.begins_step(CPU)
        clock[0] += 1
    timer.pause(CPU)
    clock[0] += 100  # an epoch's end
    for _ in range(2):
        assert timer.begins_step(CPU)
        clock[0] += 1
    assert not timer.begins_step(CPU)
    assert found == [None, 2.0, 3.0]


class Counted(Callback):
    """Batches, by their number in the epoch, and how many steps had been asked for before each."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module, batch, batch_idx: int) -> None:
        if not trainer.is_last_batch:
            self.batches.append(batch_idx)


def test_projects_steps_are_timed_over_epochs_but_for_the_last_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    watcher, asked, kept = Counted(), [], []
    monkeypatch.setattr("benchmarks.loops.keep_freed_memory", lambda: kept.append("project"))

    def watched(cfg: DictConfig, datamodule: ImageDataModule, timer: StepTimer) -> bool:
        begins = timer.begins_step
        timer.begins_step = lambda device: asked.append(device) or begins(device)
        return loops.project(cfg, datamodule, timer, [watcher])

    cfg = composed(
        "data=digits", "model=gan", "network=mlp", "network.decoder.width=8", "network.encoder.width=8",
        "data.batch_size=400", "trainer.accelerator=cpu", "every_n_epochs=1000", run_dir=tmp_path,
    )  # fmt: skip
    datamodule = loops.ready(cfg)  # 1,197 images: three batches an epoch
    assert seconds_of(watched, cfg, datamodule, warm_up=1, steps=4) > 0
    assert len(asked) == 6 and watcher.batches == [0, 1, 0, 1, 0, 1]  # and the sixth says that it is enough
    assert kept == ["project"]
    cfg.data.batch_size = 2000
    with pytest.raises(SystemExit, match="an epoch of one batch"):
        seconds_of(loops.project, cfg, datamodule, warm_up=1, steps=1)


def test_a_loop_that_cannot_train_a_model_says_so():
    with pytest.raises(ValueError, match="can't train"):
        seconds_of(unable, composed("data=digits"), None, 1, 1)

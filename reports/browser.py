"""Samples of several seeds in the course of training, to be looked through side by side."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from run_folder.pictures import FIXED, epoch_stage, pictures_by_epoch

from .models import Model
from .pictures import DAMAGED, Window, embedded, first_tiles, open_png
from .runs import Run

MODELS, SEEDS, EPOCHS = 4, 5, 6  # at most
SIDE = 240  # pixels


class Frame(NamedTuple):
    seed: str
    epoch: int
    uri: str


class Reel(NamedTuple):
    """What there is of one model."""

    name: str
    frames: list[Frame]


class Browser(NamedTuple):
    reels: list[Reel]
    seeds: list[str]
    epochs: list[int]


def browser_of(models: Sequence[Model], shown: Sequence[str]) -> Browser | None:
    """Of the models with these names; None where there is only one picture of each to see."""
    chosen = [model for model in models if model.name in shown][:MODELS]
    reels = [Reel(model.name, [frame for run in _runs(model) for frame in frames_of(run)]) for model in chosen]
    reels = [reel for reel in reels if reel.frames]
    if all(len(reel.frames) < 2 for reel in reels):
        return None
    seeds = list(dict.fromkeys(frame.seed for reel in reels for frame in reel.frames))
    epochs = sorted({frame.epoch for reel in reels for frame in reel.frames})
    return Browser(reels, seeds, epochs)


def _runs(model: Model) -> list[Run]:
    """One of each seed."""
    by_seed = {run.seed: run for run in reversed(model.finished) if run.seed is not None}
    return [by_seed[seed] for seed in sorted(by_seed)][:SEEDS]


def frames_of(run: Run) -> list[Frame]:
    """The first tiles of a run's samples, at epochs that are spread over its training."""
    frames = []
    for epoch, name in spread(epochs_of(run)):
        path = run.picture(name)
        with suppress(*DAMAGED):
            if path is not None:
                tiles = first_tiles(run, open_png(path))
                frames.append(Frame(str(run.seed), epoch, embedded(tiles, "", "", Window(1, 1), SIDE).uri))
    return frames


def epochs_of(run: Run) -> list[tuple[int, str]]:
    """The epochs after which samples were drawn, each with its picture's name."""
    return [(epoch, f"{FIXED}_{epoch_stage(epoch)}") for epoch in pictures_by_epoch(run.folder, FIXED)]


def spread(epochs: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """So many of them at most, the first and the last among these."""
    if len(epochs) <= EPOCHS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(index * last / (EPOCHS - 1))] for index in range(EPOCHS)]

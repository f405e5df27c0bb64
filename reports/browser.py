"""Samples of several seeds in the course of training, to be looked through side by side."""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from run_folder.layout import PICTURES

from .models import Model
from .pictures import DAMAGED, Window, embedded, first_tiles, open_png
from .runs import Run

NAME = re.compile(r"samples_fixed_epoch_(\d{1,7})\.png")
MODELS, SEEDS, EPOCHS = 4, 5, 6  # at most
MOST_FILES = 10_000  # in a folder of pictures
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
    with suppress(OSError):
        files = [path.name for path in islice((run.folder / PICTURES).iterdir(), MOST_FILES)]
        return sorted((int(found[1]), name.removesuffix(".png")) for name in files if (found := NAME.fullmatch(name)))
    return []


def spread(epochs: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """So many of them at most, the first and the last among these."""
    if len(epochs) <= EPOCHS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(index * last / (EPOCHS - 1))] for index in range(EPOCHS)]

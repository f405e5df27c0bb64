"""The parts of the campaign, and how many tries each has."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .disks import disk
from .flips import flip
from .folders import folders
from .kills import kill
from .races import race
from .ranks import ranks
from .saves import save
from .signals import stop
from .strangers import hostile
from .tally import Tally
from .words import words


class Part(NamedTuple):
    """A kind of attack: called with how many tries, what is drawn from, and an empty folder for it."""

    attack: Callable[[int, random.Random, Path], list[Tally]]
    tries: dict[str, int]  # by scale


PARTS = {
    "kill": Part(kill, {"short": 6, "full": 200}),
    "save": Part(save, {"short": 32, "full": 500}),
    "flip": Part(flip, {"short": 40, "full": 600}),
    "signal": Part(stop, {"short": 1, "full": 20}),
    "hostile": Part(hostile, {"short": 5, "full": 200}),
    "race": Part(race, {"short": 4, "full": 20}),
    "words": Part(words, {"short": 8, "full": 160}),
    "folders": Part(folders, {"short": 10, "full": 100}),
    "disk": Part(disk, {"short": 2, "full": 20}),
    "ranks": Part(ranks, {"short": 1, "full": 8}),
}

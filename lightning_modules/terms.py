"""What the terms of training steps are, for those who draw them: units, bounds, and where they would come to rest."""

from typing import NamedTuple


class Level(NamedTuple):
    """A value that a term can be compared with, and how it is called: `2 ln 2`."""

    value: float
    name: str


class Term(NamedTuple):
    title: str
    unit: str = ""
    level: Level | None = None
    meaning: str = ""  # of the level
    low: float | None = None  # what a term can't fall below, and exceed
    high: float | None = None
    by_factors: bool = False  # whether it is its ratios that matter, as of distances: it may be drawn on a log scale


NATS = "nats per image"
Terms = dict[str, Term]  # by the names under which steps return them

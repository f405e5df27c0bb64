"""Factor tables: where the models of a family are a grid of two settings, the score in each of its cells."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from .extractors import bare_name
from .formatting import ABSENT, number, setting
from .models import Model, differences, is_detail, is_trained, named_settings, shortened
from .ranking import arrow, direction
from .recipes import families_of, plain
from .runs import Column
from .tables import Cell, Heading, Table

NOTE = "{score}: the mean over all models and seeds of a cell, and how many those are. Marked: the best cell."
MOST_VALUES = 12  # of a setting; more are a scale, not a factor
MOST_TABLES = 3  # of a family


class Factor(NamedTuple):
    key: str
    name: str
    values: list[str]


def factor_tables(models: Sequence[Model], column: Column) -> list[Table]:
    """A table for each two settings of a family of which every combination has the score as often."""
    tables = []
    for family, members in families_of([model for model in models if is_trained(model)]).items():
        scored = [model for model in members if model.values(column)]
        named = [named_settings(model, scored) for model in scored]
        chosen = [{key: setting(value) for key, value in one.items()} for one in named]
        seeds = [len(model.values(column)) for model in scored]
        pairs = [pair for pair in combinations(factors_of(chosen), 2) if is_grid(pair, chosen, seeds)]
        tables += [factor_table(family, pair, scored, chosen, column) for pair in pairs[:MOST_TABLES]]
    return tables


def factors_of(settings: Sequence[dict[str, str]]) -> list[Factor]:
    """The settings that differ, each with its values in order: no details of parts that do, none that go together."""
    keys = [same[0] for same in differences(settings)]
    shown = [key for key in keys if not is_detail(key, keys)]
    factors: dict[tuple[int, ...], Factor] = {}
    for key in shown:
        chosen = [one.get(key, ABSENT) for one in settings]
        values = sorted(set(chosen), key=_order)
        partition = tuple(map(chosen.index, chosen))
        if len(values) <= MOST_VALUES:
            factors.setdefault(partition, Factor(key, plain(shortened(key, shown)), values))
    return list(factors.values())


def is_grid(pair: tuple[Factor, Factor], settings: Sequence[dict[str, str]], seeds: Sequence[int]) -> bool:
    """Whether cells differ in nothing but the pair: each has the same other settings, over as many seeds."""
    first, second = pair
    keys = [same[0] for same in differences(settings)]
    others = [key for key in keys if not any(goes_with(factor, key, settings) for factor in pair)]
    cells: dict[tuple[str, str], Counter[tuple[str, ...]]] = {}
    for one, count in zip(settings, seeds, strict=True):
        cell = one.get(first.key, ABSENT), one.get(second.key, ABSENT)
        rest = (*(one.get(key, ABSENT) for key in others), str(count))
        cells.setdefault(cell, Counter())[rest] += 1
    is_full = len(cells) == len(first.values) * len(second.values)
    return is_full and all(rest == next(iter(cells.values())) for rest in cells.values())


def goes_with(factor: Factor, key: str, settings: Sequence[dict[str, str]]) -> bool:
    """Whether a setting follows from a factor: each has a value for each of the other's, or it is a detail of it."""
    together = {(one.get(factor.key, ABSENT), one.get(key, ABSENT)) for one in settings}
    follows = len(together) == len(factor.values)
    return follows and (is_detail(key, [factor.key]) or len({value for _, value in together}) == len(factor.values))


def factor_table(
    family: str,
    pair: tuple[Factor, Factor],
    models: Sequence[Model],
    settings: Sequence[dict[str, str]],
    column: Column,
) -> Table:
    """The first factor's values are the rows, the second's the columns."""
    down, across = pair
    means, counts = {}, {}
    for row in down.values:
        for head in across.values:
            cell = [
                value
                for model, one in zip(models, settings, strict=True)
                if (one.get(down.key, ABSENT), one.get(across.key, ABSENT)) == (row, head)
                for value in model.values(column).values()
            ]
            means[row, head], counts[row, head] = fmean(cell), len(cell)
    best = max(means.values(), key=lambda mean: direction(column.score) * mean)
    cells = {
        place: Cell(number(mean), f"n = {counts[place]}", mean, best=mean == best) for place, mean in means.items()
    }
    rows = [[Cell(row), *(cells[row, head] for head in across.values)] for row in down.values]
    headings = [Heading(f"{down.name} ↓ {across.name} →"), *map(Heading, across.values)]
    title = f"{family}: {down.name} × {across.name}"
    return Table(title, headings, rows, NOTE.format(score=bare_name(column) + arrow(column.score)))


def _order(value: str) -> tuple[bool, float, str]:
    """Numbers by size, before words."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value

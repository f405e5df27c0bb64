"""Curves over the course of training, with a band over seeds."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import altair as alt
import numpy as np

from .charts import STYLES, Chart, Row, chart_of, colours, dash_of, data_of, hovered, zoom
from .models import Model
from .runs import Curve

POINTS = 100  # of a line that has more, and of the grid on which seeds are averaged
FEW, POINTS_OF_MANY = 12, 40  # a chart of more lines has fewer points of each
SMOOTHED_OVER = 50  # a curve of more points than this gets a running mean over its fiftieth part
MOST_DOTS = 120  # of a chart whose dots are seen

CLOCKS = ("images seen", "wall time in minutes")


class Line(NamedTuple):
    model: Model
    style: int  # the model's place among all: its colour
    dashed: bool
    seeds: list[tuple[np.ndarray, np.ndarray]]


def score_charts(models: Sequence[Model], clock: str) -> list[Chart]:
    """Val's scores over the course of training, a chart for each protocol that test was scored under.

    That is `val/fid_*`, or `val/kid_*` where val is too small for it.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for name in _scalars([model], lambda name: name.startswith(("val/fid_", "val/kid_"))):
            of_test = name.replace("val/", "test/", 1)
            protocols = {column.protocol for run in model.finished for column in run.scores if column.score == of_test}
            groups.setdefault((name, " ".join(sorted(protocols))), set()).add(model.name)
    names = [name for name, _ in groups]
    charts = [
        _chart(
            f"{name} {protocol}" if names.count(name) > 1 else name,
            _lines(models, [name], clock, comparable),
            clock,
            logarithmic=True,
        )
        for (name, protocol), comparable in groups.items()
    ]
    return [chart for chart in charts if chart]


def loss_charts(models: Sequence[Model]) -> list[Chart]:
    """A chart for each term of each family of models: losses of different families are different quantities."""
    families: dict[frozenset[str], list[Model]] = {}
    for model in models:
        terms = frozenset(_scalars([model], lambda name: name.startswith("train/")))
        families.setdefault(terms, []).append(model)
    charts = []
    for terms, family in families.items():
        for term in sorted(terms, key=lambda name: ("loss" not in name, name)):
            name = term.removeprefix("train/")
            lines = _lines(models, [term, f"val/{name}"], CLOCKS[0], {model.name for model in family})
            charts.append(_chart(name, lines, CLOCKS[0]))
    return [chart for chart in charts if chart]


def _scalars(models: Sequence[Model], wanted: Callable[[str], bool]) -> list[str]:
    return sorted(
        {
            name
            for model in models
            for run in model.finished
            for name, points in run.curves.items()
            if wanted(name) and any(value for _, _, value in points)
        }
    )


def _lines(models: Sequence[Model], names: Sequence[str], clock: str, shown: set[str]) -> list[Line]:
    """Of the models whose names are in `shown`; a model's style is its place among all."""
    lines = []
    for index, model in enumerate(models):
        for name in names if model.name in shown else ():
            curves = [_arrays(run.curves.get(name, []), clock) for run in model.finished]
            seeds = [curve for curve in curves if curve is not None]
            if seeds:
                lines.append(Line(model, index, name.startswith("val/") and len(names) > 1, seeds))
    return lines


def _arrays(points: Curve, clock: str) -> tuple[np.ndarray, np.ndarray] | None:
    """A curve's points against a clock, smoothed if they are many; None if there are none."""
    if clock == "images seen":
        kept: list[tuple[float, float]] = [(images_seen, value) for images_seen, _, value in points]
    else:
        kept = [(seconds / 60, value) for _, seconds, value in points if seconds is not None]
    if not kept:
        return None
    x, y = np.array(sorted(kept)).T
    window = len(x) // SMOOTHED_OVER
    if window > 1:
        x, y = x[window - 1 :], np.convolve(y, np.ones(window) / window, mode="valid")
    return x, y


def average(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Grid, mean and standard deviation over seeds, where all of them are; no deviation of a single one."""
    if len(seeds) == 1:
        return *seeds[0], None
    start, end = max(x[0] for x, _ in seeds), min(x[-1] for x, _ in seeds)
    same = all(len(x) == len(seeds[0][0]) and np.array_equal(x, seeds[0][0]) for x, _ in seeds)
    grid = seeds[0][0] if same else np.linspace(start, max(start, end), POINTS)
    values = np.stack([np.interp(grid, x, y) for x, y in seeds])
    return grid, values.mean(axis=0), values.std(axis=0, ddof=1)


def _chart(title: str, lines: list[Line], clock: str, logarithmic: bool = False) -> Chart | None:
    if not lines:
        return None
    points = POINTS if len(lines) <= FEW else POINTS_OF_MANY
    rows = [row for place, line in enumerate(lines) for row in rows_of(line, place, points)]
    is_positive = all((y > 0).all() for line in lines for _, y in line.seeds)
    scale = alt.Scale(type="log", nice=False) if logarithmic and is_positive else alt.Scale(zero=False)
    written = "~s" if clock == CLOCKS[0] else "~g"  # 200m is no time in minutes
    clocked = alt.X("x:Q", title=clock, axis=alt.Axis(format=written), scale=alt.Scale(nice=False))
    measured = alt.Y("y:Q", title=title.removeprefix("val/"), scale=scale)
    base = alt.Chart(data_of(rows)).transform_lookup(
        "line", from_=alt.LookupData(data_of(keys_of(lines)), key="line", fields=["model", "dashes"])
    )
    base = base.encode(x=clocked, color=colours({line.model.name: line.style for line in lines}))
    dashes = alt.Scale(domain=list(STYLES), range=list(STYLES.values()))
    drawn = base.mark_line(strokeWidth=1.6).encode(
        y=measured, detail="line:N", strokeDash=alt.StrokeDash("dashes:N", scale=dashes, legend=None)
    )
    shown = [alt.Tooltip("model:N"), hovered("x:Q", clock), hovered("y:Q", title)]
    dots = base.mark_point(filled=True, size=24, opacity=0.01 if len(rows) > MOST_DOTS else 0.8)
    layers = [drawn, dots.encode(y=measured, tooltip=shown).add_params(zoom("x", "y"))]
    if any("low" in row for row in rows):
        band = base.mark_area(opacity=0.18)
        layers.insert(0, band.encode(y=alt.Y("low:Q", title=""), y2="high:Q", detail="line:N"))
    names = ", ".join(dict.fromkeys(line.model.name for line in lines))
    count = max(len(line.seeds) for line in lines)
    alternative = f"{title} against {clock}: {names}; mean and standard deviation over up to {count} seeds"
    return chart_of(title, layers, alternative)


def keys_of(lines: Sequence[Line]) -> list[Row]:
    """What the rows of each line share."""
    return [
        {"line": place, "model": line.model.name, "dashes": "val" if line.dashed else dash_of(line.style)}
        for place, line in enumerate(lines)
    ]


def rows_of(line: Line, place: int, points: int) -> list[Row]:
    """The points of a line: mean, and one standard deviation to both sides where there are seeds."""
    x, mean, std = average(line.seeds)
    if len(x) > points:
        grid = np.linspace(x[0], x[-1], points)
        mean, std = np.interp(grid, x, mean), None if std is None else np.interp(grid, x, std)
        x = grid
    rows: list[Row] = [{"line": place, "x": float(at), "y": float(value)} for at, value in zip(x, mean, strict=True)]
    if std is not None:
        for row, value, spread in zip(rows, mean, std, strict=True):
            row |= {"low": float(value - spread), "high": float(value + spread)}
    return rows

"""Curves with a band over seeds, as SVG that takes its ink from the page: readable in light and dark."""

import io
import re
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from .models import Model
from .runs import Curve

COLOURS = ("#3f8fd9", "#e07b39", "#3aa87a", "#c768b5", "#b39b1e", "#8a7fdc", "#d65f5f", "#57a9b5")
DASHES = ("-", "--", ":", "-.")  # once the colours are used up
INK = "#010203"  # replaced by the page's own
POINTS = 200  # of the grid on which seeds are averaged
SMOOTHED_OVER = 50  # a curve of more points than this gets a running mean over its fiftieth part

CLOCKS = ("images seen", "wall time in minutes")


class Panel(NamedTuple):
    title: str
    svg: str
    alt: str


class Line(NamedTuple):
    model: Model
    style: int  # the model's place among all: its colour
    dashed: bool
    seeds: list[tuple[np.ndarray, np.ndarray]]


def score_panels(models: Sequence[Model], clock: str) -> list[Panel]:
    """Val's scores over the course of training, a panel for each protocol that test was scored under.

    That is `val/fid_*`, or `val/kid_*` where val is too small for it.
    """
    groups: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for name in _scalars([model], lambda name: name.startswith(("val/fid_", "val/kid_"))):
            of_test = name.replace("val/", "test/", 1)
            protocols = {column.protocol for run in model.finished for column in run.scores if column.score == of_test}
            groups.setdefault((name, " ".join(sorted(protocols))), set()).add(model.name)
    names = [name for name, _ in groups]
    panels = [
        _panel(
            f"{name} {protocol}" if names.count(name) > 1 else name,
            _lines(models, [name], clock, comparable),
            clock,
            logarithmic=True,
        )
        for (name, protocol), comparable in groups.items()
    ]
    return [panel for panel in panels if panel]


def loss_panels(models: Sequence[Model], clock: str) -> list[Panel]:
    """A panel for each term of each family of models: losses of different families are different quantities."""
    families: dict[frozenset[str], list[Model]] = {}
    for model in models:
        terms = frozenset(_scalars([model], lambda name: name.startswith("train/")))
        families.setdefault(terms, []).append(model)
    panels = []
    for terms, family in families.items():
        for term in sorted(terms, key=lambda name: ("loss" not in name, name)):
            name = term.removeprefix("train/")
            lines = _lines(models, [term, f"val/{name}"], clock, {model.name for model in family})
            panels.append(_panel(name, lines, clock))
    return [panel for panel in panels if panel]


def colour_of(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def dash_of(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]


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


def _panel(title: str, lines: list[Line], clock: str, logarithmic: bool = False) -> Panel | None:
    if not lines:
        return None
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9}):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        axis = figure.add_subplot()
        for line in lines:
            _draw(axis, line)
        if logarithmic and all((y > 0).all() for line in lines for _, y in line.seeds):
            axis.set_yscale("log")
            plain_log_ticks(axis.yaxis)
        axis.set_xlabel(clock)
        axis.set_ylabel(title.removeprefix("val/"))
        style_axes(axis)
        if clock == "images seen":
            axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    names = ", ".join(dict.fromkeys(line.model.name for line in lines))
    count = max(len(line.seeds) for line in lines)
    alt = f"{title} against {clock}: {names}; mean and standard deviation over up to {count} seeds"
    return Panel(title, svg_for_page(file.getvalue(), f"{title} {clock} {lines[0].model.runs[0].data} {names}"), alt)


def _draw(axis: Axes, line: Line) -> None:
    x, mean, std = average(line.seeds)
    colour = colour_of(line.style)
    marker = "." if len(x) < 30 else None
    style = dash_of(line.style) if not line.dashed else (0, (4, 2))
    axis.plot(x, mean, color=colour, linestyle=style, linewidth=1.6, marker=marker, alpha=0.75 if line.dashed else 1)
    if std is not None:
        axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)


def style_axes(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    for spine in axis.spines.values():
        spine.set_color(INK)
    axis.tick_params(which="both", colors=INK)
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    axis.grid(color=INK, alpha=0.12)
    axis.xaxis.set_major_locator(ticker.MaxNLocator(5))


def plain_log_ticks(axis: Axis) -> None:
    """1, 2, 5, 10, 20: written out, as scores are read."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def svg_for_page(svg: str, salt: str) -> str:
    """The `<svg>` element alone, in the page's ink, with ids that no other figure of the page has."""
    prefix = f"f{zlib.crc32(salt.encode()):x}-"
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    tag, rest = svg.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", tag) + ' aria-hidden="true">' + rest

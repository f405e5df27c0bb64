"""The figure of a run's curves: a panel for each term, with its unit, and where it would come to rest."""

from collections.abc import Mapping, Sequence
from math import isfinite, nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lightning_modules.terms import Term

from .figures import GENERATED, LEVEL, REAL, titled

SMOOTHED_OVER = 50  # a curve of more points than this gets a running mean over its fiftieth part
LARGEST = 1e30  # of what is drawn
FLATTEST = 0.2  # the axis spans at least this share of the largest value: noise around a constant looks like that
FACTORS = 20  # largest over smallest value, from which on ratios are drawn on a log scale
MARGIN = 0.05
COLOURS = {"train": REAL, "val": GENERATED}

Curve = tuple[list[int], list[float]]  # training images seen, values


def draw_curves(curves: Mapping[str, Curve], terms: Mapping[str, Term], facts: Sequence[str] = ()) -> Figure:
    """A panel for each quantity that is not always zero, in the order of `terms`; train and val share a panel."""
    shown = [name for name, (_, values) in curves.items() if name.startswith(("train/", "val/")) and any(values)]
    order = {name: place for place, name in enumerate(terms)}
    found = {name.split("/", 1)[1] for name in shown}
    quantities = sorted(found, key=lambda name: (order.get(name, len(order)), name))
    columns = min(3, max(1, len(quantities)))
    rows = max(1, -(-len(quantities) // columns))
    figure = Figure(figsize=(4.4 * columns, 3.1 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    end = max((seen[-1] for name in shown for seen in curves[name][:1]), default=0)
    for axes, quantity in zip(panels, quantities, strict=False):
        of_splits = {split: drawable(curves[name]) for split in COLOURS if (name := f"{split}/{quantity}") in curves}
        _draw_panel(axes, of_splits, terms.get(quantity, Term(quantity.replace("_", " "))), end)
    for axes in panels[len(quantities) :]:
        axes.set_axis_off()
    titled(figure, "Curves of training", facts)
    return figure


def drawable(curve: Curve) -> Curve:
    """A curve with gaps where a run that diverged has no number, or one that no axis can hold."""
    images_seen, values = curve
    return images_seen, [value if abs(value) < LARGEST else nan for value in values]


def _draw_panel(axes: Axes, curves: Mapping[str, Curve], term: Term, end: int) -> None:
    for split, curve in curves.items():
        _draw_curve(axes, *curve, label=split, colour=COLOURS[split])
    if term.level is not None:
        label = f"{term.level.name}: {term.meaning}"
        axes.axhline(term.level.value, color=LEVEL, linestyle="--", linewidth=0.9, label=label)
    values = [value for _, of_split in curves.values() for value in of_split if isfinite(value)]
    if values and is_logarithmic(values, term):
        axes.set_yscale("log")
    elif values:
        axes.set_ylim(*limits(values, term))
    axes.set_title(term.title, fontsize=10)
    axes.set_xlim(0, end * (1 + MARGIN) or 1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("training images seen", fontsize=8)
    axes.set_ylabel(term.unit, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def is_logarithmic(values: Sequence[float], term: Term) -> bool:
    """Whether it is ratios that matter, and these are large."""
    return term.by_factors and min(values) > 0 and max(values) > FACTORS * min(values)


def limits(values: Sequence[float], term: Term) -> tuple[float, float]:
    """Of an axis: all values, the level to compare with and the bounds; noise around a constant never fills it."""
    marks = (term.level.value if term.level else None, term.low, term.high)
    seen = [*values, *(mark for mark in marks if mark is not None)]
    low, high = min(seen), max(seen)
    missing = FLATTEST * max(abs(low), abs(high)) - (high - low)
    if missing > 0 or low == high:
        low, high = low - max(missing, 1e-3) / 2, high + max(missing, 1e-3) / 2
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def _draw_curve(axes: Axes, images_seen: list[int], values: list[float], label: str, colour: str) -> None:
    window = len(values) // SMOOTHED_OVER
    if window < 2:
        axes.plot(images_seen, values, label=label, color=colour, marker="." if len(values) < 30 else None)
        return
    axes.plot(images_seen, values, color=colour, alpha=0.25, linewidth=0.8)
    smooth = [sum(values[i - window : i]) / window for i in range(window, len(values) + 1)]
    axes.plot(images_seen[window - 1 :], smooth, label=f"{label} (mean of {window})", color=colour)

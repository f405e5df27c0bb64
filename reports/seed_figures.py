"""Every seed as a dot, with the mean and its interval: a panel for each score that has a better and a worse."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .figures import INK, Panel, colour_of, plain_log_ticks, style_axes, svg_for_page
from .formatting import number
from .models import Model
from .ranking import AMOUNT, arrow, direction, kind_of, short_name, summary_over_seeds
from .runs import Column

ROW, MARGINS, WIDTH = 0.4, 0.85, 4.4  # inches
LABEL = 76  # characters
WIDE = 20  # a score whose largest value is so many times its smallest has a logarithmic axis
BEYOND = 1.0  # of the dots' range: so far an interval is followed on either side


def seed_panels(models: Sequence[Model], columns: Sequence[Column]) -> list[Panel]:
    """Models in the order in which they come, each with the colour of its place."""
    panels = []
    for column in columns:
        shown = [(index, model) for index, model in enumerate(models) if model.values(column)]
        if shown and direction(column.score):
            same_name = sum(other.score == column.score for other in columns) > 1
            title = short_name(column.score) + arrow(column.score) + (f" {column.protocol}" if same_name else "")
            panels.append(_panel(title, shown, column))
    return panels


def _panel(title: str, shown: Sequence[tuple[int, Model]], column: Column) -> Panel:
    with mpl.rc_context({"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 9}):
        figure = Figure(figsize=(WIDTH, MARGINS + ROW * len(shown)), layout="constrained")
        axis = figure.add_subplot()
        for row, (index, model) in enumerate(shown):
            _draw_row(axis, -row, index, model, column)
        style_axes(axis)
        _set_limits(axis, [model for _, model in shown], column)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_ylim(0.75 - len(shown), 0.85)
        axis.set_xlabel(title)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    told = "; ".join(f"{model.name}: {', '.join(map(number, model.values(column).values()))}" for _, model in shown)
    salt = f"seeds {title} {column.protocol} {shown[0][1].runs[0].data} {told}"
    return Panel(title, svg_for_page(file.getvalue(), salt), f"{title} of every seed. {told}")


def _draw_row(axis: Axes, y: float, index: int, model: Model, column: Column) -> None:
    values, summary, colour = model.values(column), summary_over_seeds(model, column), colour_of(index)
    if summary.low is not None and summary.high is not None:
        axis.plot([summary.low, summary.high], [y, y], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
    if summary.n > 1:
        axis.plot([summary.mean] * 2, [y - 0.17, y + 0.17], color=colour, linewidth=1.6)
    collapsed = [value for seed, value in values.items() if seed in model.collapsed]
    others = [value for seed, value in values.items() if seed not in model.collapsed]
    axis.plot(others, [y] * len(others), "o", color=colour, markersize=4.5, alpha=0.8, markeredgewidth=0)
    axis.plot(collapsed, [y] * len(collapsed), "x", color=colour, markersize=5, markeredgewidth=1.5)
    outcome = model.outcome(column)
    said = f" · {outcome}" if ";" in outcome else ""
    label = _cut(model.name, LABEL - len(said)) + said
    axis.text(0.0, y + 0.27, label, transform=axis.get_yaxis_transform(), color=INK, fontsize=8, va="bottom")


def _set_limits(axis: Axes, models: Sequence[Model], column: Column) -> None:
    """Around the dots; around intervals and the floor as far as that leaves the dots apart."""
    values = [value for model in models for value in model.values(column).values()]
    low, high = min(values), max(values)
    floors = [floor for model in models if (floor := model.floor(column)) is not None]
    lowest, highest = kind_of(column.score).bounds
    if low > 0 and high > WIDE * low and (lowest, highest) == AMOUNT:
        axis.set_xscale("log")
        plain_log_ticks(axis.xaxis)
        axis.set_xlim(low / 2, high * 2)
    else:
        reach = BEYOND * (high - low) or 0.05 * abs(high) or 0.5
        ends = [summary_over_seeds(model, column) for model in models]
        low_end = min([low, *floors, *(end.low for end in ends if end.low is not None)])
        high_end = max([high, *floors, *(end.high for end in ends if end.high is not None)])
        left, right = max(low_end, low - reach, lowest), min(high_end, high + reach, highest)
        margin = 0.04 * (right - left) or reach
        axis.set_xlim(left - margin, right + margin)
    if floors:
        axis.axvline(floors[0], color=INK, linestyle=":", linewidth=1.2)


def _cut(text: str, length: int) -> str:
    """Without its middle, if it is too long: the end tells models apart."""
    return text if len(text) <= length else f"{text[:12]}…{text[-max(length - 13, 1) :]}"

"""Every seed as a dot: by score with the mean and its interval, and the score that decides against what it cost."""

from collections.abc import Sequence

import altair as alt

from .charts import Chart, Row, chart_of, colours, data_of, hovered, short, zoom
from .extractors import bare_name
from .formatting import number
from .models import Model
from .ranking import AMOUNT, arrow, direction, kind_of, short_name, summary_over_seeds
from .runs import Column

ROW, MARGINS = 30, 20  # pixels
WIDE = 20  # a score whose largest value is so many times its smallest has a logarithmic axis
BEYOND = 1.0  # of the dots' range: so far an interval is followed on either side
COSTS = {"seconds": "seconds of training", "parameters": "parameters"}  # against which quality is drawn
WIDE_COST = 5  # the same, of a cost


def seed_charts(models: Sequence[Model], columns: Sequence[Column]) -> list[Chart]:
    """A chart for each score that has a better and a worse. Each model has the colour of its place."""
    charts = []
    for column in columns:
        shown = places_of(models, column)
        if shown and direction(column.score):
            same_name = sum(other.score == column.score for other in columns) > 1
            title = short_name(column.score) + arrow(column.score) + (f" {column.protocol}" if same_name else "")
            scored = [model for model in models if model.values(column)]
            charts.append(_seeds(title, scored, shown, column))
    return charts


def places_of(models: Sequence[Model], column: Column) -> dict[str, int]:
    """The place of each model that has the score, by which it has its colour; others may share its name."""
    return {model.name: index for index, model in enumerate(models) if model.values(column)}


def cost_charts(models: Sequence[Model], column: Column) -> list[Chart]:
    """A score against the seconds and the parameters that it took, a dot a seed."""
    styles = places_of(models, column)
    charts = []
    for cost, title in COSTS.items():
        rows: list[Row] = [
            {"model": model.name, "seed": str(run.seed), "x": run.costs[cost], "y": float(run.scores[column].value)}
            for model in models
            for run in model.finished
            if column in run.scores and cost in run.costs
        ]
        if rows:
            charts.append(_against(title, rows, styles, column))
    return charts


def _against(cost: str, rows: list[Row], styles: dict[str, int], column: Column) -> Chart:
    measured = bare_name(column) + arrow(column.score)
    x, y = ([float(row[axis] or 0) for row in rows] for axis in "xy")
    shown_as = ",d" if cost == COSTS["seconds"] else "~s"
    shown = [alt.Tooltip("model:N"), alt.Tooltip("seed:N"), hovered("x:Q", cost), hovered("y:Q", measured)]
    dots = alt.Chart(data_of(rows)).mark_point(filled=True, size=60, opacity=0.75).encode(
        x=alt.X("x:Q", title=cost, scale=_scale(x, WIDE_COST), axis=alt.Axis(format=shown_as)),
        y=alt.Y("y:Q", title=measured, scale=_scale(y, WIDE)),
        color=colours(styles),
        tooltip=shown,
    )  # fmt: skip
    names = ", ".join(dict.fromkeys(str(row["model"]) for row in rows))
    alternative = f"{measured} against {cost}, a dot a seed: {names}"
    return chart_of(f"{measured} against {cost}", [dots.add_params(zoom("x", "y"))], alternative)


def _scale(values: Sequence[float], wide: float) -> alt.Scale:
    """Logarithmic where values lie far apart; with room around them."""
    low, high = min(values), max(values)
    if low > 0 and high > wide * low:
        return alt.Scale(type="log", domain=[short(low / 1.3), short(high * 1.3)], nice=False)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1
    return alt.Scale(domain=[short(low - room), short(high + room)], nice=False)


def _seeds(title: str, shown: Sequence[Model], styles: dict[str, int], column: Column) -> Chart:
    # A domain rather than a sort, which Vega-Lite writes into an expression: not every name can stand in one.
    order = alt.Scale(domain=[model.name for model in shown])
    rows = alt.Y("model:N", scale=order, title=None, axis=alt.Axis(labelLimit=130, grid=False))
    axis = alt.X("x:Q", title=title, scale=_limits(shown, column))
    colour = colours(styles)
    seeds = alt.Chart(data_of([row for model in shown for row in _dots(model, column)]))
    dots = seeds.mark_point(size=45, opacity=0.8).encode(
        x=axis, y=rows, color=colour, tooltip=["model:N", "seed:N", hovered("x:Q", title), "state:N"],
        fill=colours(styles), shape=alt.Shape("state:N", legend=None,
        scale=alt.Scale(domain=["", "collapsed"], range=["circle", "M-1-1L1 1M1-1L-1 1"])),
    )  # fmt: skip
    means = alt.Chart(data_of([_mean(model, column) for model in shown]))
    bars = means.mark_rule(strokeWidth=6, opacity=0.25, clip=True).encode(x=axis, x2="high:Q", y=rows, color=colour)
    bars = bars.encode(x=alt.X("low:Q", title=title, scale=_limits(shown, column)))
    ticks = means.mark_tick(thickness=2, clip=True).encode(x=axis, y=rows, color=colour)
    layers = [bars, ticks, dots.add_params(zoom("x"))]
    floors = [floor for model in shown if (floor := model.floor(column)) is not None]
    if floors:
        line = alt.Chart(data_of([{"x": floors[0]}])).mark_rule(strokeDash=[2, 3], color="currentColor", clip=True)
        layers.append(line.encode(x=axis))
    values = "; ".join(f"{model.name}: {', '.join(map(number, model.values(column).values()))}" for model in shown)
    return chart_of(title, layers, f"{title} of every seed. {values}", MARGINS + ROW * len(shown))


def _dots(model: Model, column: Column) -> list[Row]:
    return [
        {"model": model.name, "seed": str(seed), "x": value, "state": "collapsed" if seed in model.collapsed else ""}
        for seed, value in model.values(column).items()
    ]


def _mean(model: Model, column: Column) -> Row:
    summary = summary_over_seeds(model, column)
    return {"model": model.name, "x": summary.mean, "low": summary.low, "high": summary.high}


def _limits(models: Sequence[Model], column: Column) -> alt.Scale:
    """Around the dots; around intervals and the floor as far as that leaves the dots apart."""
    values = [value for model in models for value in model.values(column).values()]
    low, high = min(values), max(values)
    floors = [floor for model in models if (floor := model.floor(column)) is not None]
    lowest, highest = kind_of(column.score).bounds
    if low > 0 and high > WIDE * low and (lowest, highest) == AMOUNT:
        return alt.Scale(type="log", domain=[short(low / 2), short(high * 2)], nice=False)
    reach = BEYOND * (high - low) or 0.05 * abs(high) or 0.5
    ends = [summary_over_seeds(model, column) for model in models]
    low_end = min([low, *floors, *(end.low for end in ends if end.low is not None)])
    high_end = max([high, *floors, *(end.high for end in ends if end.high is not None)])
    left, right = max(low_end, low - reach, lowest), min(high_end, high + reach, highest)
    margin = 0.04 * (right - left) or reach
    return alt.Scale(domain=[short(left - margin), short(right + margin)], nice=False)

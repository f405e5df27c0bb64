"""Charts that are hovered and zoomed, drawn in the page by Vega-Lite: their form, their ink, and what draws them."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import isfinite
from typing import Any, Literal, NamedTuple

import altair as alt
import vl_convert

COLOURS = ("#3f8fd9", "#e07b39", "#3aa87a", "#c768b5", "#b39b1e", "#8a7fdc", "#d65f5f", "#57a9b5")
STYLES = {  # of lines: those of val, and those of models once the colours are used up
    "solid": [1, 0],
    "long": [8, 3],
    "dots": [2, 2],
    "long and dot": [8, 3, 2, 3],
    "val": [4, 3],
}
DASHES = ("solid", "long", "dots", "long and dot")
INK = "currentColor"  # the page's own, light or dark
DIGITS = 4  # of a number that is drawn
HEIGHT = 190  # pixels; the width is the page's to say

Row = dict[str, float | str | None]


class Chart(NamedTuple):
    title: str
    spec: dict[str, Any]  # Vega-Lite
    alt: str


def colour_of(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def dash_of(index: int) -> str:
    return DASHES[index // len(COLOURS) % len(DASHES)]


def data_of(rows: Sequence[Row]) -> alt.Data:
    """Rows with numbers as short as they are drawn. What is not finite is none: JSON has no word for it."""
    return alt.Data(values=[{key: _short(value) for key, value in row.items()} for row in rows])


def short(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if isfinite(value) else None


def _short(value: float | str | None) -> float | str | None:
    return value if isinstance(value, str | None) else short(value)


def colours(styles: Mapping[str, int], field: str = "model") -> alt.Color:
    """A colour by the name of a model, as its place says; the page has the legend."""
    scale = alt.Scale(domain=list(styles), range=[colour_of(place) for place in styles.values()])
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def hovered(shorthand: str, title: str) -> alt.Tooltip:
    """A line of what is shown on hovering, under any title: Vega-Lite writes it into an expression of its own.

    There it escapes quotation marks, but neither backslashes nor line ends.
    """
    return alt.Tooltip(shorthand, title=" ".join(title.replace("\\", "\\\\").split()))


def chart_of(title: str, layers: Sequence[alt.Chart], alternative: str, height: int = HEIGHT) -> Chart:
    """A chart in the page's ink that a drag moves and the wheel zooms."""
    zoomed = alt.LayerChart(layer=list(layers)).properties(name="chart", height=height, width="container").configure(
        background="transparent",
        font="system-ui, sans-serif",
        view=alt.ViewConfig(stroke=None),
        mark=alt.MarkConfig(aria=False),  # the page has a label for all of the chart; these would be expressions too
        axis=alt.AxisConfig(
            labelColor=INK, titleColor=INK, domainColor=INK, tickColor=INK, gridColor=INK, gridOpacity=0.12,
            titleFontWeight="normal", labelFontSize=11, titleFontSize=11, tickCount=5, labelOverlap="greedy",
        ),
    )  # fmt: skip
    spec = zoomed.to_dict(validate=False)
    del spec["$schema"]
    return Chart(title, spec, alternative)


def zoom(*axes: Literal["x", "y"]) -> alt.Parameter:
    """For one layer of a chart. Without Shift the wheel is the page's."""
    return alt.selection_interval(name="zoom", bind="scales", encodings=axes, zoom="wheel![event.shiftKey]")


@cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which needs no network."""
    version = "_".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    if "</script" in bundle.lower():
        raise RuntimeError("Vega's bundle would end the script that it stands in")
    return bundle

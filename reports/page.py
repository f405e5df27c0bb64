"""The report itself: one page that needs nothing else, the same as Markdown, and a table of all runs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from foundation.atomic import write_atomically
from foundation.markdown import code, plain
from foundation.progress import track

from .allowance import LARGEST_PAGE, MOST_LINES, MOST_MODELS, Allowance, for_page
from .browser import Browser, browser_of
from .charts import COLOURS, Chart, colour_of, library
from .data_sets import DataSet, data_sets_of
from .figures import CLOCKS, loss_charts, score_charts
from .models import Model
from .opening import SIDE_OF_OTHERS
from .pictures import LARGEST_PICTURE, LinkedPicture, Picture, picture_of
from .results import results
from .run_folders import find_runs
from .runs import FINISHED, Run
from .seed_figures import cost_charts, seed_charts
from .tables import Cell

PICTURES = {  # what is set side by side below the samples: the run folder's file, and what it shows
    "interpolation_slerp_final": "Interpolations between two latents, a row each (slerp)",
    "reconstructions_final": "Reconstructions, each row below the val images it is of",
}
FEW = 8  # models, whose pictures may be large
# What is left out of a page that is too large, in this order, and what takes its place.
LEFT_OUT: tuple[tuple[str, Any], ...] = (
    ("losses", []),
    ("seeds", []),
    ("galleries", []),
    ("browser", None),
    ("scores", []),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # begin what a spreadsheet would compute


class Gallery(NamedTuple):
    title: str
    pictures: list[Picture | LinkedPicture]


class Legend(NamedTuple):
    name: str
    colour: str
    dashed: bool


class Section(NamedTuple):
    """A data set as the page shows it."""

    data_set: DataSet
    legend: list[Legend]
    deciding: list[Chart]  # the score that decides: every seed, and against what it cost
    seeds: list[Chart]  # of the other scores
    scores: list[Chart]
    losses: list[Chart]
    browser: Browser | None
    galleries: list[Gallery]
    few: str  # which models the charts show, where those are not all
    left_out: tuple[str, ...] = ()  # what the page has no room for


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write index.html, report.md and results.csv about all runs in and below the folders; return the page's path.

    They go to `out`, or to `report/` in the first folder. Raises ReportError if a folder is missing, or none has a run.
    """
    folders = [Path(folder) for folder in folders]
    runs = find_runs(folders)
    out = Path(out) if out is not None else folders[0] / "report"
    data_sets = data_sets_of(runs)
    pages = Environment(
        loader=PackageLoader("reports"), autoescape=select_autoescape(["html.j2"]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    pages.filters |= {"row": markdown_row, "plain": plain, "code": code, "for_page": for_page}
    pages.filters["link"] = lambda path: link_to(path, out)
    shared = {"summary": summary_of(runs), "data_sets": data_sets}
    sections = [section_of(of) for of in track(data_sets, len(data_sets), "report: drawing", "data sets")]
    page = page_of(pages, sections, shared)
    text = pages.get_template("report.md.j2").render(shared)
    table = without_formulas(results(data_sets))
    write_atomically(out / "results.csv", lambda partial: table.to_csv(partial, index=False))
    write_atomically(out / "report.md", lambda partial: partial.write_text(text, encoding="utf-8"))
    write_atomically(out / "index.html", lambda partial: partial.write_text(page, encoding="utf-8"))
    return out / "index.html"


def page_of(pages: Environment, sections: list[Section], shared: dict[str, Any]) -> str:
    """The page: all of it, or without what makes it too large, what is needed least first."""
    template = pages.get_template("index.html.j2")
    page = template.render(sections=sections, library=library(), **shared)
    for name, empty in LEFT_OUT:
        if len(page.encode()) <= LARGEST_PAGE:
            break
        sections = [without(section, name, empty) for section in sections]
        page = template.render(sections=sections, library=library(), **shared)
    return page


def without(section: Section, name: str, empty: Any) -> Section:
    if not getattr(section, name):
        return section
    return section._replace(**{name: empty}, left_out=(*section.left_out, name))


def link_to(path: Path, out: Path) -> str:
    """A link from the page in a folder to a file of a run: a path and no address, whatever its names look like."""
    return quote(os.fsencode(os.path.relpath(path.resolve(), out.resolve())))


def summary_of(runs: Sequence[Run]) -> str:
    """How many runs there are, and how many of them ended otherwise than they should."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.status] = counts.get(run.status, 0) + 1
    others = [f"{count} {status}" for status, count in counts.items() if status != FINISHED]
    finished = f"{counts.get(FINISHED, 0)} finished"
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}: {', '.join([finished, *others])}"


def section_of(data_set: DataSet) -> Section:
    models, allowance = data_set.models, data_set.allowance
    deciding = [data_set.deciding] if data_set.deciding else []
    browser = browser_of(models, [entry.name for entry in data_set.opening.entries], allowance)
    galleries = [
        Gallery(title, gallery(models, name, title, allowance, 1 / (len(PICTURES) - place)))
        for place, (name, title) in enumerate(PICTURES.items())
    ]
    drawn, lines = models[:MOST_MODELS], models[:MOST_LINES]  # the best; their places are those among all
    return Section(
        data_set,
        legend=[
            Legend(model.name, colour_of(index), dashed=index >= len(COLOURS))
            for index, model in enumerate(drawn)
            if model.finished
        ],
        deciding=[chart for column in deciding for chart in seed_charts(drawn, [column]) + cost_charts(drawn, column)],
        seeds=seed_charts(drawn, [column for column in data_set.columns if column not in deciding]),
        scores=[chart for clock in CLOCKS for chart in score_charts(lines, clock)],
        losses=loss_charts(lines),
        browser=browser,
        galleries=[shown for shown in galleries if shown.pictures],
        few=few_of(len(models)),
    )


def few_of(count: int) -> str:
    """Which of so many models the charts show, where those are not all."""
    if count <= MOST_LINES:
        return ""
    seeds = f"the {MOST_MODELS} best" if count > MOST_MODELS else "all"
    return f"Of {count:,} models the charts of seeds show {seeds}, and those of curves the {MOST_LINES} best."


def gallery(
    models: Sequence[Model], name: str, title: str, allowance: Allowance, share: float
) -> list[Picture | LinkedPicture]:
    """One picture of each model's first seed, where it can be read."""
    pictures = []
    shown = [model for model in models if model.first][:MOST_MODELS]
    most = allowance.each(len(shown), share)
    side = LARGEST_PICTURE if len(shown) <= FEW else SIDE_OF_OTHERS
    for model in shown:
        run = model.first
        if run is not None:
            caption = model.name if run.seed is None else f"{model.name}, seed {run.seed}"
            pictures.append(picture_of(run, name, caption, f"{title}: {caption}", allowance, most, side))
    return [picture for picture in pictures if picture]


def markdown_row(cells: Sequence[Cell]) -> str:
    """Cells as a line of a Markdown table, a second line of a cell below its first; the best is bold."""
    lines = [[f"**{plain(cell.text)}**" if cell.best else plain(cell.text), plain(cell.detail)] for cell in cells]
    return f"| {' | '.join('<br>'.join(filter(None, line)) for line in lines)} |"


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts and headings a spreadsheet shows and does not compute: an apostrophe is put first."""
    shown = table.map(_as_text)
    return shown.rename(columns=_as_text)


def _as_text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

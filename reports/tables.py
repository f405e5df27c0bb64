"""The tables of a report, the same for the page and for Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

from scoring.published import published_under

from .comparison import Contender
from .formatting import ABSENT, count, number, number_formatter, p_value, plus_minus, setting, signed
from .models import Model, differences, is_trained
from .ranking import arrow, direction, rank, short_name
from .runs import FINISHED, Column, Run
from .statistics import summarize

SCORES_NOTE = (
    "Mean ± standard deviation over training seeds [95 % interval of the mean, by Student's t]; a single seed has "
    "neither. Under each score the hash of its protocol: other hash, other column."
)
COMPARISON_NOTE = "{score} under protocol {protocol}, each model minus the best, {best}."
HOLM_NOTE = (
    " Holm's correction is for the {tests} tests of this table; the words go by it, the intervals do not; that the "
    "best was picked by its mean is not corrected for."
)
COSTS_NOTE = "Of training, with its pictures and val scores; mean ± standard deviation over runs."
UNFINISHED_NOTE = "Runs that failed, diverged, were stopped or can't be read count in no mean above."
DIFFERENCES_NOTE = (
    "Only what differs; {shared} other settings are the same for all. Seeds, paths and pictures are left out."
)


class Cell(NamedTuple):
    text: str
    detail: str = ""  # a second line
    order: float | str | None = None  # what sorting goes by; None: last
    best: bool = False


class Heading(NamedTuple):
    text: str
    detail: str = ""


@dataclass
class Table:
    title: str
    headings: list[Heading]
    rows: list[list[Cell]]
    note: str = ""
    fixed: list[list[Cell]] = field(default_factory=list)  # rows to compare with, below the others
    background: bool = False  # for the end of the page


def scores_table(models: Sequence[Model], columns: Sequence[Column], protocols: Mapping[str, Any]) -> Table:
    """Every score of every model; below them what real images score, and what others have published."""
    headings = [Heading("model"), Heading("seeds")]
    headings += [Heading(short_name(column.score) + arrow(column.score), column.protocol) for column in columns]
    scored = [model for model in models if model.finished]
    best_rank = {column: min(rank(model, column) for model in scored) for column in columns} if scored else {}
    compared = {column: sum(bool(model.values(column)) for model in scored) > 1 for column in columns}

    def is_best(model: Model, column: Column) -> bool:
        return compared[column] and direction(column.score) != 0 and rank(model, column) == best_rank[column]

    rows = [
        [
            Cell(model.name, order=model.name),
            Cell(str(len(model.seeds)), order=len(model.seeds)),
            *(score_cell(model, column, is_best(model, column)) for column in columns),
        ]
        for model in scored
    ]
    fixed = [floor_row(scored, columns), *published_rows(columns, protocols)] if columns else []
    return Table("Scores", headings, rows, SCORES_NOTE, [row for row in fixed if row])


def score_cell(model: Model, column: Column, best: bool) -> Cell:
    values = model.values(column)
    if not values:
        return Cell(ABSENT)
    summary = summarize(list(values.values()))
    details = [f"{summary.n} of {len(model.seeds)} seeds"] if summary.n < len(model.seeds) else []
    if summary.low is not None and summary.high is not None:
        formatted = number_formatter(summary)
        details.append(f"[{formatted(summary.low)}, {formatted(summary.high)}]")
        if sign := direction(column.score):
            seed = max(values, key=lambda seed: sign * values[seed])
            details.append(f"best {formatted(values[seed])} (seed {seed})")
    return Cell(plus_minus(summary), " · ".join(details), summary.mean, best)


def floor_row(models: Sequence[Model], columns: Sequence[Column]) -> list[Cell]:
    """What as many real images score; the same for all runs of a protocol."""
    floors = {
        column: score.floor
        for model in models
        for run in model.finished
        for column, score in run.scores.items()
        if score.floor is not None
    }
    if not floors:
        return []
    cells = [Cell(number(floors[column]) if column in floors else "") for column in columns]
    return [Cell("floor: real training images"), Cell(""), *cells]


def published_rows(columns: Sequence[Column], protocols: Mapping[str, Any]) -> list[list[Cell]]:
    """What others published under the protocol of a column, a row each."""
    rows = []
    for column in columns:
        for score in published_under(protocols.get(column.protocol, {})):
            if f"test/{score.score}" == column.score:
                value = Cell(f"{score.value} ± {score.std}")
                label = Cell(f"published: {score.model}", "; ".join(filter(None, [score.source, score.remark])))
                rows.append([label, Cell(""), *(value if other == column else Cell("") for other in columns)])
    return rows


def comparison_table(best: Model, contenders: Sequence[Contender], column: Column) -> Table:
    """Whether the others differ from the best model by more than noise."""
    tests = sum(isfinite(contender.comparison.p) for contender in contenders)
    several = tests > 1
    headings = ["model", "difference", "p", *(["p by Holm"] if several else []), "Cohen's d", "test", "in words"]
    rows = [comparison_row(contender, corrected=several) for contender in contenders]
    note = COMPARISON_NOTE.format(score=short_name(column.score), protocol=column.protocol, best=best.name)
    if several:
        note += HOLM_NOTE.format(tests=tests)
    return Table("Is the difference more than noise?", list(map(Heading, headings)), rows, note)


def comparison_row(contender: Contender, corrected: bool) -> list[Cell]:
    """With a column for the corrected p value, if there is one in the table."""
    comparison = contender.comparison
    tested = isfinite(comparison.p)
    interval = f"[{number(comparison.low)}, {number(comparison.high)}]" if comparison.test else ""
    p_values = [comparison.p, contender.corrected_p] if corrected else [comparison.p]
    effect = Cell(f"{comparison.effect:.2g}", order=comparison.effect) if tested else Cell(ABSENT)
    return [
        Cell(contender.model.name, order=contender.model.name),
        Cell(signed(comparison.difference), interval, comparison.difference),
        *(Cell(p_value(p), order=p) if tested else Cell(ABSENT) for p in p_values),
        effect._replace(detail=comparison.effect_kind),
        Cell(comparison.test or "none", f"({comparison.n[0]} and {comparison.n[1]} seeds)", comparison.test),
        Cell(f"the difference {contender.significance.verdict}"),
    ]


COSTS: tuple[tuple[Heading, Callable[[Run], float | None]], ...] = (
    (Heading("parameters"), lambda run: run.costs.get("parameters")),
    (Heading("images seen"), lambda run: run.costs.get("images_seen")),
    (Heading("epochs"), lambda run: run.costs.get("epochs")),
    (Heading("wall time", "minutes"), lambda run: run.cost("seconds", unit=60)),
    (Heading("images per second"), lambda run: run.images_per_second),
    (Heading("peak memory", "MiB"), lambda run: run.cost("peak_memory_bytes", unit=2**20)),
)


def costs_table(models: Sequence[Model]) -> Table:
    rows = [
        [Cell(model.name, order=model.name), *(cost_cell(model, cost_of) for _, cost_of in COSTS)]
        for model in models
        if any(run.costs for run in model.finished)
    ]
    return Table("What it cost", [Heading("model"), *(heading for heading, _ in COSTS)], rows, COSTS_NOTE)


def cost_cell(model: Model, cost_of: Callable[[Run], float | None]) -> Cell:
    costs = [cost for run in model.finished if (cost := cost_of(run)) is not None]
    if not costs:
        return Cell(ABSENT)
    summary = summarize(costs)
    constant = len(set(costs)) == 1  # counts, that no seed changes
    return Cell(count(costs[0]) if constant else plus_minus(summary), order=summary.mean)


def unfinished_table(models: Sequence[Model]) -> Table:
    """What ended otherwise than it should, and what was left out of a finished run."""
    rows = [
        unfinished_row(model, run, message)
        for model in models
        for run in model.runs
        for message in ([run.message] if run.status != FINISHED else []) + run.remarks
    ]
    headings = ["run", "model", "seed", "status", "images seen", "message"]
    return Table("Runs that need a look", list(map(Heading, headings)), rows, UNFINISHED_NOTE)


def unfinished_row(model: Model, run: Run, message: str) -> list[Cell]:
    seen = run.costs.get("images_seen")
    return [
        Cell(run.name, order=run.name),
        Cell(model.name if run.model else ABSENT, order=model.name),
        Cell(ABSENT if run.seed is None else str(run.seed), order=run.seed),
        Cell(run.status, order=run.status),
        Cell(ABSENT if seen is None else count(seen), order=seen),
        Cell(message),
    ]


def differences_table(models: Sequence[Model]) -> Table:
    """The settings in which models differ; those that always have the same value share a row."""
    trained = [model for model in models if is_trained(model)]
    differing = differences([model.settings for model in trained])
    rows = [
        [
            Cell(first, f"also {', '.join(others)}" if others else "", first),
            *(Cell(setting(model.settings.get(first, ABSENT))) for model in trained),
        ]
        for first, *others in differing
    ]
    shared = len({key for model in trained for key in model.settings}) - sum(map(len, differing))
    headings = [Heading("setting"), *(Heading(model.name) for model in trained)]
    return Table("How the settings differ", headings, rows, DIFFERENCES_NOTE.format(shared=shared), background=True)

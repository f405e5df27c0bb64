"""The tables of a report, the same for the page and for Markdown, and the sentences above them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from scoring.published import published_under

from .models import ABSENT, Model, differences, models_of
from .run_folders import FINISHED, Column, Run
from .statistics import Comparison, Summary, compare, holm, summarize, verdict

HEADLINE = "test/fid_reference"
SMALLER_IS_BETTER = ("fid", "kid", "nll", "bits_per_dim", "missing_modes")
LARGER_IS_BETTER = ("precision", "recall", "density", "coverage", "confidence", "accuracy")
SPREAD = "kid_subset_std"  # of KID's subsets: neither better nor worse


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


@dataclass
class DataSet:
    """What is told of the runs on one data set."""

    name: str
    models: list[Model]  # the best first
    headline: str
    certainty: str  # "sure", "unsure" or "unknown"
    column: Column | None  # that the headline goes by
    tables: list[Table]
    protocols: dict[str, dict[str, Any]]


def data_sets_of(runs: Sequence[Run]) -> list[DataSet]:
    names = sorted({run.data for run in runs if run.data is not None})
    known = [data_set_of(name, [run for run in runs if run.data == name]) for name in names]
    lost = [run for run in runs if run.data is None]
    return known + ([data_set_of("an unknown data set", lost)] if lost else [])


def data_set_of(name: str, runs: list[Run]) -> DataSet:
    models = models_of(runs)
    columns = list(dict.fromkeys(column for run in runs if run.status == FINISHED for column in run.scores))
    column = headline_column(columns, models)
    if column:
        models.sort(key=lambda model: rank(model, column))
    comparisons = compare_with_best(models, column) if column else []
    headline, certainty = headline_of(name, models, column, comparisons)
    protocols = {key: protocol for run in runs for key, protocol in run.protocols.items()}
    tables = [
        scores_table(models, columns, protocols),
        *([comparison_table(models[0], comparisons, column)] if comparisons else []),
        costs_table(models),
        unfinished_table(models),
        differences_table(models),
    ]
    return DataSet(name, models, headline, certainty, column, [table for table in tables if table.rows], protocols)


def direction(score: str) -> int:
    """-1 where smaller is better, 1 where larger is, 0 where neither."""
    name = short(score)
    if name.startswith(SPREAD):
        return 0
    return -1 if name.startswith(SMALLER_IS_BETTER) else int(name.startswith(LARGER_IS_BETTER))


def headline_column(columns: Sequence[Column], models: Sequence[Model]) -> Column | None:
    """The score that decides, under the protocol in which most models and runs have it."""

    def spread(column: Column) -> tuple[int, bool, int]:
        counts = [len(model.values(column)) for model in models]
        return sum(map(bool, counts)), column.score == HEADLINE, sum(counts)

    return max((column for column in columns if direction(column.score)), key=spread, default=None)


def rank(model: Model, column: Column) -> tuple[bool, float]:
    values = model.values(column)
    return not values, -direction(column.score) * fmean(values.values()) if values else 0.0


def compare_with_best(models: Sequence[Model], column: Column) -> list[tuple[Model, Comparison, float]]:
    """Each model that has the score against the first; with its p value, by Holm where there are several."""
    scored = [model for model in models if model.values(column)]
    told = [compare(model.values(column), scored[0].values(column)) for model in scored[1:]]
    return list(zip(scored[1:], told, holm([comparison.p for comparison in told]), strict=True))


def headline_of(
    name: str, models: Sequence[Model], column: Column | None, comparisons: list[tuple[Model, Comparison, float]]
) -> tuple[str, str]:
    """Who won, by how much and how sure that is, in words; and the last in one word."""
    if column is None:
        ended = any(model.finished for model in models)
        return f"No run on {name} has {'a score' if ended else 'finished'}: nothing to compare.", "unknown"
    first, score = models[0], short(column.score)
    value = summarize(list(first.values(column).values()))
    others = [model.name for model in models if model.finished and not model.values(column)]
    left_out = f" Not compared, for want of this score under protocol {column.protocol}: {', '.join(others)}."
    left_out = left_out if others else ""
    if not comparisons:
        return f"{first.name} on {name}: {score} {told_of(value)}. No other model has this score.{left_out}", "unknown"
    second, comparison, p = comparisons[0]
    other = summarize(list(second.values(column).values()))
    sure = isfinite(p) and "more than noise" in verdict(p, comparison)
    better = "smaller" if direction(column.score) < 0 else "larger"
    against = f"{told_of(value)} against {told_of(other)}, {better} is better"
    sentence = f"{first.name} {'beats' if sure else 'leads'} {second.name} on {name}: {score} {against}. "
    if comparison.test is None:
        each = "One seed each" if comparison.n == (1, 1) else "One seed of one of them"
        return sentence + f"{each}: no statement on noise is possible.{left_out}", "unknown"
    sentence += f"The difference of {difference_of(comparison)} {verdict(p, comparison)}{evidence(comparison, p)}."
    if len(comparisons) > 1:
        sentence += f" It is the nearest of {len(comparisons)} other models; p is corrected for all tests (Holm)."
    return sentence + left_out, "sure" if sure else "unsure"


def evidence(comparison: Comparison, p: float) -> str:
    if not isfinite(p):
        return ""
    told_p = p_value(p) if p < 1e-4 else f"= {p_value(p)}"
    return f" ({comparison.test}, p {told_p}, Cohen's d {comparison.effect_kind} = {abs(comparison.effect):.2g})"


def told_of(summary: Summary) -> str:
    return f"{plus_minus(summary)} ({summary.n} seed{'s' if summary.n > 1 else ''})"


def difference_of(comparison: Comparison) -> str:
    """The size of the difference with its 95 % interval, whichever way round."""
    low, high = sorted((comparison.low, comparison.high), key=abs)
    if comparison.low * comparison.high < 0:  # the difference may as well be none
        low, high = sorted((comparison.low, comparison.high))
        if comparison.difference < 0:
            low, high = -high, -low
        return f"{number(abs(comparison.difference))} [{number(low)}, {number(high)}]"
    return f"{number(abs(comparison.difference))} [{number(abs(low))}, {number(abs(high))}]"


def scores_table(models: Sequence[Model], columns: Sequence[Column], protocols: Mapping[str, Any]) -> Table:
    headings = [Heading("model"), Heading("seeds")]
    headings += [Heading(short(column.score) + arrow(column.score), column.protocol) for column in columns]
    scored = [model for model in models if model.finished]
    best = {column: min(scored, key=lambda model: rank(model, column)) for column in columns} if scored else {}
    compared = {column: sum(bool(model.values(column)) for model in scored) > 1 for column in columns}

    def is_best(model: Model, column: Column) -> bool:
        return compared[column] and direction(column.score) != 0 and rank(model, column) == rank(best[column], column)

    rows = [
        [
            Cell(model.name, order=model.name),
            Cell(str(len(model.seeds)), order=len(model.seeds)),
            *(score_cell(model, column, is_best(model, column)) for column in columns),
        ]
        for model in scored
    ]
    note = (
        "Mean ± standard deviation over training seeds [95 % interval of the mean, by Student's t]; a single seed has "
        "neither. Under each score the hash of its protocol: other hash, other column."
    )
    fixed = [floor_row(scored, columns), *published_rows(columns, protocols)] if columns else []
    return Table("Scores", headings, rows, note, [row for row in fixed if row])


def score_cell(model: Model, column: Column, best: bool) -> Cell:
    values = model.values(column)
    if not values:
        return Cell(ABSENT)
    summary = summarize(list(values.values()))
    fewer = f"{summary.n} of {len(model.seeds)} seeds · " if summary.n < len(model.seeds) else ""
    if summary.n == 1:
        return Cell(plus_minus(summary), fewer.removesuffix(" · "), summary.mean, best)
    sign = direction(column.score)
    told = beside(summary)
    detail = f"{fewer}[{told(summary.low)}, {told(summary.high)}]"
    if sign:
        seed = max(values, key=lambda seed: sign * values[seed])
        detail += f" · best {told(values[seed])} (seed {seed})"
    return Cell(plus_minus(summary), detail, summary.mean, best)


def floor_row(models: Sequence[Model], columns: Sequence[Column]) -> list[Cell]:
    """What as many real images score; the same for all runs of a protocol."""
    floors = {
        column: run.scores[column].floor
        for model in models
        for run in model.finished
        for column in columns
        if column in run.scores and run.scores[column].floor is not None
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
                told = {column: Cell(f"{score.value} ± {score.std}")}
                label = Cell(f"published: {score.model}", "; ".join(filter(None, [score.source, score.remark])))
                rows.append([label, Cell(""), *(told.get(other, Cell("")) for other in columns)])
    return rows


def comparison_table(best: Model, comparisons: list[tuple[Model, Comparison, float]], column: Column) -> Table:
    tests = sum(isfinite(comparison.p) for _, comparison, _ in comparisons)
    several = tests > 1
    headings = ["model", "difference", "p", *(["p by Holm"] if several else []), "Cohen's d", "test", "in words"]
    rows = []
    for model, comparison, corrected in comparisons:
        tested = isfinite(comparison.p)
        interval = f"[{number(comparison.low)}, {number(comparison.high)}]" if comparison.test else ""
        rows.append([
            Cell(model.name, order=model.name),
            Cell(signed(comparison.difference), interval, comparison.difference),
            *(
                Cell(p_value(p) if tested else ABSENT, order=p if tested else None)
                for p in ([comparison.p, corrected] if several else [comparison.p])
            ),
            Cell(f"{comparison.effect:.2g}" if tested else ABSENT, comparison.effect_kind,
                 comparison.effect if tested else None),
            Cell(comparison.test or "none", f"({comparison.n[0]} and {comparison.n[1]} seeds)", comparison.test),
            Cell(f"the difference {verdict(corrected, comparison)}"),
        ])  # fmt: skip
    note = f"{short(column.score)} under protocol {column.protocol}, each model minus the best, {best.name}."
    if several:
        note += f" Holm's correction is for the {tests} tests of this table; the words go by it, the intervals do "
        note += "not; that the best was picked by its mean is not corrected for."
    return Table("Is the difference more than noise?", list(map(Heading, headings)), rows, note)


def costs_table(models: Sequence[Model]) -> Table:
    shown: list[tuple[str, str, Callable[[Run], float | None]]] = [
        ("parameters", "", lambda run: run.costs.get("parameters")),
        ("images seen", "", lambda run: run.costs.get("images_seen")),
        ("epochs", "", lambda run: run.costs.get("epochs")),
        ("wall time", "minutes", lambda run: run.costs["seconds"] / 60 if "seconds" in run.costs else None),
        ("images per second", "", images_per_second),
        ("peak memory", "MiB", lambda run: run.costs["peak_memory_bytes"] / 2**20
            if "peak_memory_bytes" in run.costs else None),
    ]  # fmt: skip
    rows = []
    for model in models:
        if any(run.costs for run in model.finished):
            cells = []
            for _, _, of in shown:
                known = [value for run in model.finished if (value := of(run)) is not None]
                if known:
                    summary = summarize(known)
                    constant = len(set(known)) == 1  # counts, that no seed changes
                    cells.append(Cell(whole(known[0]) if constant else plus_minus(summary), order=summary.mean))
                else:
                    cells.append(Cell(ABSENT))
            rows.append([Cell(model.name, order=model.name), *cells])
    note = "Of training, with its pictures and val scores; mean ± standard deviation over runs."
    return Table("What it cost", [Heading("model"), *(Heading(name, unit) for name, unit, _ in shown)], rows, note)


def images_per_second(run: Run) -> float | None:
    seen, seconds = run.costs.get("images_seen"), run.costs.get("seconds")
    return seen / seconds if seen and seconds else None


def unfinished_table(models: Sequence[Model]) -> Table:
    """What ended otherwise than it should, and what was left out of a finished run."""
    rows = []
    for model, run in [(of_run, run) for of_run in models for run in of_run.runs]:
        told = [run.message] if run.status != FINISHED else []
        for words in told + run.remarks:
            seen = run.costs.get("images_seen")
            rows.append([
                Cell(run.name, order=run.name),
                Cell(model.name if run.model else ABSENT, order=model.name),
                Cell(ABSENT if run.seed is None else str(run.seed), order=run.seed),
                Cell(run.status, order=run.status),
                Cell(ABSENT if seen is None else whole(seen), order=seen),
                Cell(words),
            ])  # fmt: skip
    headings = ["run", "model", "seed", "status", "images seen", "message"]
    note = "Runs that failed, diverged, were stopped or can't be read count in no mean above."
    return Table("Runs that need a look", list(map(Heading, headings)), rows, note)


def differences_table(models: Sequence[Model]) -> Table:
    known = [model for model in models if is_trained(model)]
    keys = differences([model.settings for model in known])
    rows = [
        [
            Cell(same[0], f"also {', '.join(same[1:])}" if len(same) > 1 else "", same[0]),
            *(Cell(setting(model.settings.get(same[0], ABSENT))) for model in known),
        ]
        for same in keys
    ]
    shared = len({key for model in known for key in model.settings}) - sum(map(len, keys))
    note = f"Only what differs; {shared} other settings are the same for all. Seeds, paths and pictures are left out."
    headings = [Heading("setting"), *(Heading(model.name) for model in known)]
    return Table("How the settings differ", headings, rows, note, background=True)


def is_trained(model: Model) -> bool:
    """Whether it is a model whose settings are known, rather than images of another program."""
    return "model" in model.settings


def setting(value: Any) -> str:
    return "null" if value is None else str(value)


def results(data_sets: Sequence[DataSet]) -> pd.DataFrame:
    """A row for every run: identity, status, what differs, every score with its protocol, costs."""
    rows = []
    for data_set in data_sets:
        differing = [
            keys[0] for keys in differences([model.settings for model in data_set.models if is_trained(model)])
        ]
        for model in data_set.models:
            for run in model.runs:
                row: dict[str, Any] = {
                    "data": run.data, "group": model.name, "model": run.model, "network": run.network,
                    "experiment": run.experiment, "seed": run.seed, "status": run.status,
                    "message": "; ".join(filter(None, [run.message, *run.remarks])), "run": run.name,
                }  # fmt: skip
                row |= {f"cost/{name}": value for name, value in run.costs.items()}
                row["cost/images_per_second"] = images_per_second(run)
                for column, score in run.scores.items():
                    name = f"{column.score}@{column.protocol}"
                    row |= {name: score.value, f"{name}/std": score.std, f"{name}/floor": score.floor}
                row |= {f"config/{key}": setting(model.settings[key]) for key in differing if key in model.settings}
                rows.append(row)
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def short(score: str) -> str:
    return score.removeprefix("test/")


def number(value: float) -> str:
    """Three significant digits; thousands in full."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def whole(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else number(value)


def signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def plus_minus(summary: Summary) -> str:
    """Mean ± std, both to the std's second significant digit; of one value, that value."""
    if summary.std is None:
        return number(summary.mean)
    if summary.std == 0:
        return f"{number(summary.mean)} ± 0"
    digits = max(0, 1 - exponent(summary.std))
    if digits + exponent(summary.mean) > 9:  # rounding rather than a spread
        return f"{number(summary.mean)} ± {number(summary.std)}"
    return f"{summary.mean:,.{digits}f} ± {summary.std:,.{digits}f}"


def beside(summary: Summary) -> Callable[[float], str]:
    """How to write values near the mean: shortly, unless they would all look the same."""
    if not summary.std or exponent(summary.mean) - exponent(summary.std) < 3:
        return number
    digits = max(0, 1 - exponent(summary.std))
    return lambda value: f"{value:,.{digits}f}"


def exponent(value: float) -> int:
    return int(f"{value:.1e}".split("e")[1])


def p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def arrow(score: str) -> str:
    return {-1: " ↓", 1: " ↑", 0: ""}[direction(score)]

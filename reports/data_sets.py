"""The runs on one data set: their models, the best first, and what the report says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .allowance import PICTURES, Allowance
from .comparison import contenders
from .factors import factor_tables
from .headline import Headline, headline_of
from .models import Model, models_of
from .opening import Opening, opening_of
from .other_images import remark_other_images
from .published import published_table
from .ranking import deciding_column, rank
from .recipes import found_table, separation_tables
from .runs import FINISHED, Column, Run
from .tables import (
    Table,
    chosen_table,
    comparison_table,
    costs_table,
    differences_table,
    flags_table,
    provenance_table,
    scores_table,
    unfinished_table,
)


@dataclass
class DataSet:
    """What the report says of the runs on one data set."""

    name: str
    models: list[Model]  # the best first
    headline: Headline
    opening: Opening
    tables: list[Table]
    protocols: dict[str, dict[str, Any]]
    columns: list[Column]
    deciding: Column | None
    allowance: Allowance  # of pictures, what the opening has left


def data_sets_of(runs: Sequence[Run]) -> list[DataSet]:
    """By name; runs that do not say on which data they are come last."""
    names = sorted({run.data for run in runs if run.data is not None})
    groups = [(name, [run for run in runs if run.data == name]) for name in names]
    unnamed = [run for run in runs if run.data is None]
    if unnamed:
        groups.append(("an unknown data set", unnamed))
    return [data_set_of(name, members, Allowance(PICTURES // len(groups))) for name, members in groups]


def data_set_of(name: str, runs: list[Run], allowance: Allowance) -> DataSet:
    remark_other_images(runs)
    models = models_of(runs)
    separations = separation_tables(models)  # in the order of the folders that were given, not of the scores
    columns = list(dict.fromkeys(column for run in runs if run.status == FINISHED for column in run.scores))
    deciding = deciding_column(columns, models)
    others = []
    if deciding:
        models.sort(key=lambda model: rank(model, deciding))
        others = contenders(models, deciding)
    protocols = {key: protocol for run in runs for key, protocol in run.protocols.items()}
    tables = [
        *([chosen_table(models, columns, deciding)] if deciding else []),
        *([comparison_table(models[0], others, deciding)] if deciding and others else []),
        *(factor_tables(models, deciding) if deciding else []),
        flags_table(models),
        scores_table(models, columns, protocols),
        costs_table(models),
        found_table(models),
        *separations,
        unfinished_table(models),
        differences_table(models),
        published_table(models),
        provenance_table(models),
    ]
    headline = headline_of(name, models, deciding, others)
    opening = opening_of(models, deciding, others, allowance)
    tables = [table for table in tables if table.rows]
    return DataSet(name, models, headline, opening, tables, protocols, columns, deciding, allowance)

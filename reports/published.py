"""Numbers that others published on the same data under a protocol that none of ours is: to be read, not compared."""

import re
from collections.abc import Sequence

from scoring.published import published_scores

from .formatting import ABSENT
from .models import Model
from .runs import Run
from .tables import Cell, Heading, Table

NOTE = (
    "On the data of this name. Their sources state no protocol, or one that is none of ours: other images, other "
    "counts, other weights of the network that measures. They stand in no table above and are compared with nothing."
)


def published_table(models: Sequence[Model]) -> Table:
    """What is published on the models' data and compares with none of their scores; no rows where nothing is."""
    names = {name for model in models for run in model.finished for name in data_names(run)}
    rows = [
        [
            Cell(score.model, order=score.model),
            Cell(score.data),
            Cell(score.score),
            Cell(score.text, order=score.value),
            Cell(score.source, score.remark or ""),
        ]
        for score in published_scores(None)
        if letters(re.split(r"[, ]", score.data)[0]) in names
    ]
    headings = list(map(Heading, ["model", "data", "score", "value", "source"]))
    return Table("Published numbers, not comparable", headings, rows, NOTE, background=True)


def data_names(run: Run) -> set[str]:
    """What a run's data is called: its choice, its title; of a folder's images what the experiment says they are."""
    titles = {str(protocol.get("data") or ABSENT) for protocol in run.protocols.values()}
    of_folder = (run.experiment or "").rpartition("/")[2].split("_") if run.data == "folder" else []
    return {letters(name) for name in (run.data or "", *titles, *of_folder)} - {""}


def letters(name: str) -> str:
    """`cifar10` of `CIFAR-10`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())

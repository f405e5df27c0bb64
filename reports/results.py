"""results.csv: all runs as one table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .data_sets import DataSet
from .flags import flags_of
from .formatting import setting
from .models import Model, differences, is_trained
from .runs import Run


def results(data_sets: Sequence[DataSet]) -> pd.DataFrame:
    """A row for every run: identity, status, what differs, every score with its protocol, costs."""
    rows = []
    for data_set in data_sets:
        differing = differences([model.settings for model in data_set.models if is_trained(model)])
        keys = [same[0] for same in differing]
        rows += [_row(run, model, keys) for model in data_set.models for run in model.runs]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def _row(run: Run, model: Model, keys: Sequence[str]) -> dict[str, Any]:
    """One run; of its settings those under `keys`."""
    row: dict[str, Any] = {
        "data": run.data, "group": model.name, "model": run.model, "network": run.network,
        "experiment": run.experiment, "seed": run.seed, "status": run.status,
        "message": "; ".join(filter(None, [run.message, *run.remarks])), "run": run.name,
    }  # fmt: skip
    row |= {f"cost/{name}": value for name, value in run.costs.items()}
    row["cost/images_per_second"] = run.images_per_second
    for column, score in run.scores.items():
        name = f"{column.score}@{column.protocol}"
        row |= {name: float(score.value), f"{name}/std": score.std, f"{name}/floor": score.floor}
        row |= {f"{name}/weights": score.weights, f"{name}/latents": score.latents}
    row["flags"] = "; ".join(f"{flag.kind}: {flag.text}" for flag in flags_of(run))
    return row | {f"config/{key}": setting(model.settings[key]) for key in keys if key in model.settings}

"""Charts of the report: the colours of their models."""

import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import make_run

from reports.charts import colour_of
from reports.data_sets import data_sets_of
from reports.page import section_of
from reports.run_folders import find_runs


def scales_of(spec: Any) -> list[dict[str, list]]:
    """Those that give models their colours, wherever they are in a chart."""
    if isinstance(spec, list):
        return [scale for part in spec for scale in scales_of(part)]
    if isinstance(spec, dict):
        own = [spec[name]["scale"] for name in ("color", "fill") if isinstance(spec.get(name), dict)]
        return own + scales_of(list(spec.values()))
    return []


@pytest.mark.parametrize("status", ["never begun", "failed"])
def test_a_namesake_without_values_takes_no_model_s_colour(status: str, tmp_path: Path):
    for seed in range(2):
        make_run(tmp_path / f"gan {seed}", "gan", "digits", seed, 3.0 + seed)
        make_run(tmp_path / f"vae {seed}", "vae", "digits", seed, 8.0 + seed)
    (tmp_path / "waiting").mkdir()
    end = {"status": status, "message": "", "model": "gan", "network": "mlp", "data": "digits", "seed": 2}
    (tmp_path / "waiting" / "status.json").write_text(json.dumps(end))
    (data_set,) = data_sets_of(find_runs([tmp_path]))
    assert [model.name for model in data_set.models] == ["gan (mlp)", "vae (mlp)", "gan (mlp)"]
    section = section_of(data_set)
    legend = {entry.name: entry.colour for entry in section.legend}
    assert legend == {"gan (mlp)": colour_of(0), "vae (mlp)": colour_of(1)}
    for chart in section.deciding + section.seeds + section.scores + section.losses:
        scales = scales_of(chart.spec)
        assert scales, chart.title
        for scale in scales:
            assert dict(zip(scale["domain"], scale["range"], strict=True)).items() <= legend.items(), chart.title

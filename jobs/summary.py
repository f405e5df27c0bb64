"""What a run came to, as lines of text for the terminal."""

import json
from pathlib import Path
from typing import Any

from run_folder.layout import CURVES, METRICS, PICTURES
from scoring.published import published_beside


def summary(run_dir: Path) -> str:
    """A finished run's scores, and where its results are."""
    record = json.loads((run_dir / METRICS).read_text())
    run_dir = run_dir.resolve()
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    terms = [f"{name} {value:.4g}" for name, value in record["test"].items() if name != "test/loss"]
    return "\n".join(
        [
            "",
            f"{record['model']} {record['network']} on {record['data']}, seed {record['seed']}: "
            f"{record['epochs']} epochs, {record['images_seen']:,} images, {record['seconds']:.0f} s, "
            f"tested {record['checkpoint']} of epoch {record['checkpoint_epoch']}",
            *score_table(record),
            *(["  " + "   ".join(terms)] if terms else []),
            f"  pictures   {shown / PICTURES}",
            f"  scores     {shown / METRICS}   curves {shown / CURVES}",
            f"  dashboard  tensorboard --logdir {shown}",
        ]
    )


def score_table(record: dict[str, Any]) -> list[str]:
    """A record's scores as lines of text: value, spread over draws of fakes, floor; a table for each protocol."""
    lines = []
    for key in record["protocols"]:
        lines.append(f"  protocol {key:<22} {'value':>9}   {'± std':<8} {'floor':>9}")
        for name, score in record["scores"].items():
            if score["protocol"] == key:
                spread = f"± {score['std']:.2g}" if score["std"] is not None else ""
                floor = f"{score['floor']:.4g}" if score["floor"] is not None else ""
                lines.append(f"  {name:<31} {score['value']:>9.4g}   {spread:<8} {floor:>9}".rstrip())
        for score in published_beside(record["protocols"][key]):
            lines.append(f"  published {score.score}, {score.model}: {score.value} ± {score.std} ({score.source})")
    return lines

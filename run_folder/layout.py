"""Names and places of the files in a run folder."""

from pathlib import Path

CONFIG = "config.yaml"
DATA = "data.json"  # which images the splits hold
METRICS = "metrics.json"
STATUS = "status.json"  # of a run that ended before its metrics.json
CURVES = "metrics.csv"
PICTURES = "pictures"
EVALUATION = "evaluation"  # what evaluate.py adds to a run
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"


def tested_checkpoint(run_dir: Path) -> Path:
    """The best checkpoint by the val score; the last one where val was never scored."""
    best = run_dir / CHECKPOINTS / BEST
    return best if best.is_file() else run_dir / CHECKPOINTS / LAST

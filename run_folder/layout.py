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
WEIGHTS = "weights.safetensors"  # of a run that was exported, in the place of its checkpoints


def tested_checkpoint(run_dir: Path) -> Path:
    """The best checkpoint by the val score; the last one where val was never scored; an exported run's weights."""
    candidates = [run_dir / CHECKPOINTS / BEST, run_dir / CHECKPOINTS / LAST, run_dir / WEIGHTS]
    return next((path for path in candidates if path.is_file()), candidates[1])

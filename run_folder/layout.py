"""Names and places of the files in a run folder."""

import os
from pathlib import Path

CONFIG = "config.yaml"
DATA = "data.json"  # which images the splits hold
METRICS = "metrics.json"
STATUS = "status.json"  # of a run that ended before its metrics.json
CURVES = "metrics.csv"
PICTURES = "pictures"
EVALUATION = "evaluation"  # what evaluate.py adds to a run
CHECKPOINTS = "checkpoints"
BEST, LAST = "best.ckpt", "last.ckpt"  # by val's score; of the last whole epoch, from which a run is resumed
END = "end.ckpt"  # of a run that ended amid an epoch: its last weights
TRACKERS = "trackers.json"  # by which names trackers know the run
WEIGHTS = "weights.safetensors"  # of a run that was exported, in the place of its checkpoints
CARD = "README.md"  # of a run that was exported: what it is, for people and for the Hugging Face hub
SAMPLES = "samples.png"  # of a run that was exported
DECODER, ENCODER = "decoder", "encoder"  # of a run that was exported: its networks for programs without this project
ONNX, PT2 = ".onnx", ".pt2"
GRAPHS = tuple(f"{network}{ending}" for network in (DECODER, ENCODER) for ending in (ONNX, PT2))

SWEEP = "multirun.yaml"  # in the folder of a sweep, around those of its jobs: Hydra writes it when it begins
WAITING = "waiting"  # in the folder of a sweep: a folder for each job that has not begun


def sweep_of(folder: Path) -> Path | None:
    """The folder of the sweep that a folder is, or is in, up to three levels below; None if there is none."""
    return next((above for above in (folder, *folder.parents[:3]) if (above / SWEEP).is_file()), None)


def tested_checkpoint(run_dir: Path) -> Path:
    """The best checkpoint by the val score; the run's last weights where val was never scored; an exported run's."""
    checkpoints = [run_dir / CHECKPOINTS / name for name in (BEST, END, LAST)]
    return next((path for path in [*checkpoints, run_dir / WEIGHTS] if path.is_file()), checkpoints[-1])


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint is of, without links in its path.

    `checkpoints/` may be a link to another disk; but a checkpoint may be given by a link from elsewhere, too.
    """
    named = Path(os.path.abspath(checkpoint)).parents[1]
    return (named if (named / CONFIG).is_file() else checkpoint.resolve().parents[1]).resolve()

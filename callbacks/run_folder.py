"""What lies where in a run folder, and how a file gets there: whole or not at all."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .scoring.published import published_beside

CONFIG = "config.yaml"
METRICS = "metrics.json"
STATUS = "status.json"  # of a run that ended before its metrics.json: see run_end.py
CURVES = "metrics.csv"
PICTURES = "pictures"
EVALUATION = "evaluation"  # what evaluate.py adds to a run
CHECKPOINTS = "checkpoints"


def claim(run_dir: Path, continued_from: str | None) -> None:
    """Raise ValueError if the folder holds a run already, unless it is that run which goes on."""
    goes_on = continued_from is not None and Path(continued_from).resolve().parent.parent == run_dir.resolve()
    if (run_dir / CONFIG).exists() and not goes_on:
        raise ValueError(
            f"{run_dir} already holds a run, which is left as it is. Choose another hydra.run.dir, "
            f"or continue that run with ckpt_path={run_dir / CHECKPOINTS / 'last.ckpt'}"
        )


def finished(run_dir: Path) -> dict[str, Any] | None:
    """The record of a run that came to its end; None if there is no such run, or its record can't be read.

    A run with a status.json did not, whatever an earlier part of it left.
    """
    if (run_dir / STATUS).exists():
        return None
    try:
        record = json.loads((run_dir / METRICS).read_text())
        return record if "scores" in record else None
    except (OSError, ValueError, TypeError):
        return None


def left_off(run_dir: Path) -> str | None:
    """Where a run that was stopped or failed can go on. Without a checkpoint it begins anew, its config set aside."""
    last = run_dir / CHECKPOINTS / "last.ckpt"
    if last.is_file():
        return str(last)
    if (run_dir / CONFIG).is_file():
        os.replace(run_dir / CONFIG, run_dir / f"earlier_{CONFIG}")
    return None


def save_config(cfg: DictConfig, run_dir: Path) -> None:
    """Write the composed config, every reference in it resolved: all that is needed to build the run again."""
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    write_atomically(run_dir / CONFIG, lambda partial: OmegaConf.save(resolved, partial))
    (run_dir / STATUS).unlink(missing_ok=True)  # of an earlier part of the run


def tested_checkpoint(run_dir: Path) -> Path:
    """The best checkpoint by the val score; the last one where val was never scored."""
    best = run_dir / CHECKPOINTS / "best.ckpt"
    return best if best.is_file() else run_dir / CHECKPOINTS / "last.ckpt"


def summary(run_dir: Path) -> str:
    """What a run came to and where its results are, for the terminal."""
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


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then move it into place: a crash leaves the old file or the new.

    The new file is on disk before the old one goes. It keeps the suffix, which some writers go by.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))


def read_rows(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The rows of metrics.csv, none if there is no such file: training images seen, and the scalars written then."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return [
            (int(row.pop("step")), {name: float(value) for name, value in row.items() if value})
            for row in csv.DictReader(file)
        ]

"""A finished run as a small folder to share, which `evaluate.py run=` takes like the run's own."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from foundation.atomic import copy_file, write_atomically
from foundation.errors import ConfigError
from foundation.locks import LOCK
from run_folder.checkpoints import export_weights, read_checkpoint
from run_folder.kept_config import write_config
from run_folder.layout import CONFIG, DATA, METRICS, WEIGHTS, tested_checkpoint
from run_folder.pictures import FINAL, FIXED, UNREADABLE, bare_grid, find_picture
from run_folder.records import RecordError, RunRecord, Score, read_record, write_record

from .config_check import check
from .kept_config import read_config
from .programs import program
from .run_start import sole_use

CARD = "README.md"
SAMPLES = "samples.png"
LEFT_OUT = {"root": "data", "weights": None}  # paths of one machine, and what stands for them


def export(cfg: DictConfig) -> None:
    """What `export.py` does. Raises UserError, before anything is written, if there is nothing to export."""
    check(cfg)
    run_dir, out = Path(cfg.run), Path(cfg.out)
    config = read_config(run_dir)
    try:
        record = read_record(run_dir / METRICS, RunRecord)
    except FileNotFoundError as error:
        raise ConfigError(f"run: {run_dir} has no {METRICS}; only a finished run can be exported") from error
    except RecordError as error:
        raise ConfigError(f"run: in {run_dir} {error}; only a finished run can be exported") from error
    if not any(score.latents for score in record.scores.values()):
        raise ConfigError(f"run: {run_dir} has no scores of images that it makes, which the card of an export is about")
    if out.exists() and not (out / LOCK).exists():
        raise in_the_way(out)
    checkpoint = read_checkpoint(tested_checkpoint(run_dir))  # the one that the record's scores are of
    with sole_use(out, "out"):
        if (out / CARD).exists():  # another export came before this one; without its card it was killed
            raise in_the_way(out)
        try:
            write_export(out, run_dir, config, record, checkpoint)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)  # or it would be in the way of the same command
            raise
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    print(f"{out}: {size:.1f} MB\n  {' '.join(program('evaluate'))} run={out} samples=64 out=samples/")


def in_the_way(out: Path) -> ConfigError:
    return ConfigError(f"out: {out} exists already and is left as it is; give another name")


def write_export(out: Path, run_dir: Path, config: DictConfig, record: RunRecord, checkpoint: dict[str, Any]) -> None:
    """Write what is shared of a run. Raises OSError and DiskFullError."""
    export_weights(checkpoint, out / WEIGHTS)
    folders = [str(config.get("run_dir", run_dir)), str(run_dir.resolve())]  # where it was made, and where it is now
    portable = OmegaConf.create(without_paths(OmegaConf.to_container(config), folders))
    write_config(out / CONFIG, portable)
    write_record(out / METRICS, record.model_copy(update={"checkpoint": WEIGHTS}))
    copy_file(run_dir / DATA, out / DATA)
    export_samples(find_picture(run_dir, FIXED, FINAL), out / SAMPLES)
    text = card(out.name, record, has_picture=(out / SAMPLES).is_file())
    write_atomically(out / CARD, lambda file: file.write_text(text))


def export_samples(picture: Path | None, out: Path) -> None:
    """Write the images of a run's picture of samples alone, if there is one: the card says what they are of."""
    if picture is None:
        return
    try:
        with Image.open(picture, formats=["PNG"]) as opened:
            bare = bare_grid(opened).copy()
    except UNREADABLE as error:
        print(f"{picture} can't be read, and is left out: {error}")
        return
    write_atomically(out, lambda partial: bare.save(partial))


def without_paths(node: Any, run_dirs: Sequence[str]) -> Any:
    """A config in which the run folder is `.` and data lies in `data`, whatever machine it was made on."""
    if isinstance(node, dict):
        return {
            key: LEFT_OUT[key] if key in LEFT_OUT and isinstance(value, str) else without_paths(value, run_dirs)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [without_paths(value, run_dirs) for value in node]
    if isinstance(node, str):
        for run_dir in run_dirs:
            if node == run_dir or node.startswith(f"{run_dir}/"):
                return f".{node.removeprefix(run_dir)}"
    return node


def card(title: str, record: RunRecord, has_picture: bool) -> str:
    """What the folder holds, how it was made and how good it is, as Markdown."""
    rows = [row_of(name, score) for name, score in record.scores.items()]
    parameters = ", ".join(f"{name} {count:,}" for name, count in record.parameters.items())
    return "\n".join(
        [
            f"# {title}",
            "",
            f"{record.model} ({record.network}) on {record.data}, seed {record.seed}: {record.epochs} epochs, "
            f"{record.images_seen:,} images, {record.seconds:,.0f} s. Parameters: {parameters}.",
            "",
            *([f"![Samples, not picked]({SAMPLES})", ""] if has_picture else []),
            "```bash",
            f"{record.command or 'python train.py'}   # how it was trained, by version {record.version}",
            "python evaluate.py run=path/to/this samples=64 out=samples/   # images of it",
            "python evaluate.py run=path/to/this   # its scores again",
            "```",
            "",
            "| score on test | value | floor | protocol | weights, latents |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "± is over draws of fakes, the floor what as many training images score; the protocols are in "
            "`metrics.json`. Scores were measured before the weights were rounded to half precision. "
            "The model knows the images of its data set and nothing else.",
            "",
        ]
    )


def row_of(name: str, score: Score) -> str:
    spread = "" if score.std is None else f" ± {score.std:.2g}"
    floor = "" if score.floor is None else f"{score.floor:.4g}"
    cells = [name.removeprefix("test/"), f"{score.value:.4g}{spread}", floor, f"`{score.protocol}`"]
    return f"| {' | '.join(cells)} | {', '.join(filter(None, (score.weights, score.latents)))} |"

"""Small runs, what they come to, and whether two of them have come to the same."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conftest import SMALL_PICTURES
from run_results import record
from torch import Tensor

from foundation.atomic import PARTIAL
from foundation.locks import LOCK
from run_folder.curves import read_rows
from run_folder.layout import BEST, CHECKPOINTS, CONFIG, CURVES, EVALUATION, LAST, METRICS, STATUS

from .programs import Program

# Of digits, three batches an epoch, every epoch scored: a few seconds.
SHORT = ["data=digits", "network=mlp", "network.encoder.width=16", "network.decoder.width=16", "data.batch_size=400",
         "trainer.max_epochs=4", "trainer.accelerator=cpu", "every_n_epochs=1", "trainer.log_every_n_steps=2",
         "scores.repeats=2", *SMALL_PICTURES]  # fmt: skip
MODELS = {
    "vae": ["model=vae", "model/density=gaussian", "model.ema_half_life=1000", "callbacks.likelihood.num_images=50",
            "callbacks.likelihood.num_samples=4", *SHORT],
    "gan": ["model=gan", *SHORT],
}  # fmt: skip
RECORDED = ("epochs", "images_seen", "parameters", "checkpoint", "checkpoint_epoch", "best_val_score", "scores",
            "protocols", "test")  # fmt: skip
RESTORED = ("state_dict", "optimizer_states", "epoch", "global_step", "images_seen")  # of a checkpoint


class LostError(Exception):
    """Something is lost; the message says what."""


@dataclass
class Finished:
    """A run that nothing interrupted: all that it came to, evaluation included, and the seconds that each took."""

    options: list[str]
    folder: Path
    results: dict[str, str]
    training: float
    evaluating: float


def uninterrupted(model: str, folder: Path, *options: str) -> Finished:
    """Train and evaluate a small run in a folder."""
    given = [*MODELS[model], *options]
    folder.mkdir(parents=True)
    begin = time.monotonic()
    finish(Program("train", *given, in_folder(folder / "run"), folder=folder))
    trained = time.monotonic()
    finish(evaluation_of(folder / "run"))
    end = time.monotonic()
    return Finished(given, folder / "run", came_to(folder / "run"), trained - begin, end - trained)


def in_folder(run: Path) -> str:
    return f"hydra.run.dir={run}"


def from_last(run: Path) -> list[str]:
    """What is given to resume a run in its folder, from its last checkpoint."""
    return [in_folder(run), f"ckpt_path={checkpoint_of(run)}"]


def checkpoint_of(run: Path) -> Path | None:
    """What a run is resumed from; it is the best where the run was killed between the two of its first epoch."""
    return next((path for name in (LAST, BEST) if (path := run / CHECKPOINTS / name).exists()), None)


def has_begun(run: Path) -> bool:
    return (run / CONFIG).exists()


def is_resumable(run: Path) -> bool:
    return checkpoint_of(run) is not None


def evaluation_of(run: Path) -> Program:
    return Program("evaluate", f"run={run}", "accelerator=cpu", folder=run.parent)


def finish(program: Program) -> str:
    """Wait for the end of a program, and return what it printed. Raises LostError if it does not end well."""
    try:
        code = program.code()
    except TimeoutError as error:
        raise LostError(str(error)) from error
    if code != 0:
        raise LostError(f"{program.line} ended with {code}: {excerpt(program.output)}")
    return program.output


def excerpt(said: str) -> str:
    """What there is to see of what a program has printed: its traceback, or its last words."""
    return said[said.index("Traceback") :][:2000] if "Traceback" in said else said[-300:]


def came_to(run: Path) -> dict[str, str]:
    """All that a run has come to, and that another of the same settings must equal, by name."""
    found: dict[str, Any] = {name: record(run)[name] for name in RECORDED}
    for name in (BEST, LAST):
        checkpoint = torch.load(run / CHECKPOINTS / name, weights_only=True)
        found |= {f"{name} {part}": checkpoint[part] for part in RESTORED}
    rows = [(step, {key: y for key, y in row.items() if key != "seconds"}) for step, row in read_rows(run / CURVES)]
    found[CURVES] = rows
    for path in sorted(file for file in run.rglob("*.*") if file.suffix in (".png", ".webp")):
        found[str(path.relative_to(run))] = path.read_bytes()
    if (run / EVALUATION / METRICS).is_file():
        evaluated = record(run / EVALUATION)
        found |= {f"evaluated {name}": evaluated[name] for name in ("scores", "test", "checkpoint")}
    return {name: repr(plain(value)) for name, value in found.items()}


def plain(node: Any) -> Any:
    """The same with tensors and bytes as hashes, so that equal things look equal."""
    if isinstance(node, Tensor):
        return hashlib.sha256(node.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
    if isinstance(node, bytes):
        return hashlib.sha256(node).hexdigest()[:16]
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    return node


def check_equal(run: Path, expected: dict[str, str]) -> None:
    """Raise LostError unless a run has come to what is expected, and has left nothing else behind."""
    ours = came_to(run)
    different = [name for name in sorted(ours.keys() | expected.keys()) if ours.get(name) != expected.get(name)]
    if different:
        raise LostError(
            f"of {run} {', '.join(different)} {'is' if len(different) == 1 else 'are'} not as uninterrupted"
        )
    if left := [str(path) for path in left_behind(run)]:
        raise LostError(f"{', '.join(left)} is left behind")


def left_behind(folder: Path) -> Iterator[Path]:
    """What no program that ended well leaves."""
    for path in folder.rglob("*"):
        if PARTIAL.fullmatch(path.name) or path.name in (LOCK, STATUS):
            yield path

"""A disk that runs full: it is named, what was there is whole, and with room the run goes on as if nothing was."""

import random
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path

from foundation.errors import UserError
from run_folder.checkpoints import read_checkpoint
from run_folder.layout import EVALUATION, METRICS

from .programs import Program
from .runs import (
    MODELS,
    Finished,
    LostError,
    check_equal,
    evaluation_of,
    excerpt,
    finish,
    has_begun,
    in_folder,
    uninterrupted,
)
from .signals import ADVICE
from .tally import Tally

AMPLE = 2**26  # bytes
NOT_ALLOWED = "mounting is not allowed here"


def disk(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """Disks that are full while a run is trained, tested and evaluated, of VAE and GAN in turns."""
    attacks = {"training and testing": while_training, "evaluating": while_evaluating}
    tallies = {case: Tally("disk", " ".join(case)) for case in product(MODELS, attacks)}
    if not can_mount(folder / "tried"):
        for tally in tallies.values():
            tally.not_tried = NOT_ALLOWED
        return list(tallies.values())
    wholes = {model: uninterrupted(model, folder / model) for model in MODELS}
    for number, (model, attack) in zip(range(tries), cycle(tallies), strict=False):
        try:
            attacks[attack](wholes[model], folder / f"disk_{number}", drawn)
            tallies[model, attack].add(None)
        except LostError as error:
            tallies[model, attack].add(str(error))
    return list(tallies.values())


def while_training(whole: Finished, place: Path, drawn: random.Random) -> None:
    """Train where there is less room than a run takes, and go on once there is more."""
    with mounted(place, AMPLE):
        run = place / "run"
        needed = taken_by(whole.folder) - taken_by(whole.folder / EVALUATION)
        while True:
            resize(place, taken_by(place) + int(drawn.uniform(0.02, 1) * needed))
            program = Program("train", *whole.options, in_folder(run), folder=place)
            if program.code() != 0:
                break
            shutil.rmtree(run)  # there was room enough
        said = full(program, place)
        check_whole(place)
        resize(place, AMPLE)
        advice = ADVICE.search(said)
        if advice is None and has_begun(run):
            raise LostError(f"no advice: {excerpt(said)}")
        again = shlex.split(advice[1])[2:] if advice else [*whole.options, in_folder(run)]
        finish(Program("train", *again, folder=place))
        if advice and str(run) not in advice[1]:
            (run,) = (path.parent for path in (place / "outputs").rglob(METRICS))
        finish(evaluation_of(run))
        check_equal(run, whole.results)


def while_evaluating(whole: Finished, place: Path, drawn: random.Random) -> None:
    """Evaluate where there is less room than that takes, and again once there is more."""
    with mounted(place, AMPLE):
        run = place / "run"
        shutil.copytree(whole.folder, run)
        while True:
            shutil.rmtree(run / EVALUATION)
            resize(place, taken_by(place) + int(drawn.uniform(0, 1) * taken_by(whole.folder / EVALUATION)))
            program = evaluation_of(run)
            if program.code() != 0:
                break
        full(program, place)
        check_whole(place)
        resize(place, AMPLE)
        finish(evaluation_of(run))
        check_equal(run, whole.results)


def full(program: Program, place: Path) -> str:
    """What a program had printed when its disk was full. Raises LostError unless it named the disk."""
    code, said = program.code(), program.output
    if code != 1 or "Traceback" in said:
        raise LostError(f"it ended with {code}: {excerpt(said)}")
    if f"no room is left on the disk {place}" not in said:
        raise LostError(f"the disk is not named: {excerpt(said)}")
    return said


def check_whole(place: Path) -> None:
    """Raise LostError if a checkpoint on the full disk can't be read."""
    for path in place.rglob("*.ckpt"):
        try:
            read_checkpoint(path)
        except UserError as error:
            raise LostError(str(error)) from error


@contextmanager
def mounted(place: Path, size: int) -> Iterator[None]:
    """A disk of its own in a folder."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def resize(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)


def can_mount(place: Path) -> bool:
    try:
        with mounted(place, AMPLE):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def taken_by(folder: Path) -> int:
    """Bytes of the disk that the files in a folder take."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*") if path.is_file())

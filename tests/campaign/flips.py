"""Flipped bits: what would be believed is checked wherever it is read, and damage is named."""

import contextlib
import io
import random
import shutil
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from file_kinds import KINDS, Kind, flip_bit, noticed

from .programs import Program
from .runs import excerpt, finish, from_last, uninterrupted
from .tally import Tally

BY_COMMANDS = 10  # one flip in as many is met by a command, in a run folder; the others by the file's reader


class Met(NamedTuple):
    """A file of a run folder, and a command that reads it."""

    file: str
    command: str
    goes_on: bool = False  # with what is left, once it has said so


MET = [
    Met("checkpoints/last.ckpt", "train"),
    Met("checkpoints/best.ckpt", "train"),
    Met("config.yaml", "train"),
    Met("data.json", "train"),
    Met("metrics.csv", "train", goes_on=True),
    Met("checkpoints/best.ckpt", "evaluate"),
    Met("config.yaml", "evaluate"),
    Met("data.json", "evaluate"),
    Met("evaluation/metrics.json", "evaluate"),
    Met("metrics.json", "export"),
    Met("config.yaml", "export"),
    Met("checkpoints/best.ckpt", "export"),
    Met("metrics.json", "report", goes_on=True),
    Met("config.yaml", "report", goes_on=True),
    Met("metrics.csv", "report", goes_on=True),
    Met("weights.safetensors", "evaluate"),
    Met("data.json", "samples"),
]


def flip(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """Flip bits in every kind of file, and in those of finished runs."""
    by_commands = max(1, tries // BY_COMMANDS)
    tallies = {kind.file: Tally("flip", f"{kind.file}, by its reader") for kind in KINDS}
    for _, kind in zip(range(tries - by_commands), cycle(KINDS), strict=False):
        tallies[kind.file].add(met_by_reader(kind, folder, drawn))
    return [*tallies.values(), *met_by_commands(by_commands, drawn, folder)]


def met_by_reader(kind: Kind, folder: Path, drawn: random.Random) -> str | None:
    whole, path = folder / f"whole {kind.file}", folder / kind.file.replace(".", "_") / kind.file
    if not path.exists():
        path.parent.mkdir()
        kind.write(path, 3)
        shutil.copyfile(path, whole)
    shutil.copyfile(whole, path)
    bit = flip_bit(path, drawn)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        fault = noticed(kind, path, told.getvalue)
    return fault and f"bit {bit}: {fault}"


def met_by_commands(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    whole = uninterrupted("vae", folder / "vae")
    exported = folder / "exported"
    finish(Program("export", f"run={whole.folder}", f"out={exported}", folder=folder))
    tallies = {met: Tally("flip", f"{met.file}, by {met.command}") for met in MET}
    for number, met in zip(range(tries), cycle(MET), strict=False):
        run = folder / f"run_{number}"
        shutil.copytree(exported if met.file == "weights.safetensors" else whole.folder, run)
        bit = flip_bit(run / met.file, drawn)
        fault = not_named(met, run, command(met, run, whole.options))
        tallies[met].add(fault and f"bit {bit}: {fault}")
        shutil.rmtree(run)
    return [tally for tally in tallies.values() if tally.tries]


def command(met: Met, run: Path, options: list[str]) -> Program:
    given = {
        "train": ("train", *options, "trainer.max_epochs=5", *from_last(run)),
        "evaluate": ("evaluate", f"run={run}", "accelerator=cpu", "scores=none"),
        "samples": ("evaluate", f"run={run}", "accelerator=cpu", "samples=9", f"out={run}/samples.npz"),
        "export": ("export", f"run={run}", f"out={run}/exported"),
        "report": ("report", str(run)),
    }
    name, *arguments = given[met.command]
    return Program(name, *arguments, folder=run.parent)


def not_named(met: Met, run: Path, program: Program) -> str | None:
    """What is wrong with how a command took a damaged file; None: it named it."""
    try:
        code = program.code()
    except TimeoutError as error:
        return str(error)
    said = program.output
    if met.command == "report":
        said += (run / "report" / "results.csv").read_text()
    if "Traceback" in said or code != (0 if met.goes_on else 1):
        return f"{met.command} ended with {code}: {excerpt(said)}"
    return None if Path(met.file).name in said and "damaged" in said else f"{met.command} says only: {excerpt(said)}"

"""A report of run folders that are hostile or damaged: each is a row that says why, and the rest is reported."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

from damaged_folders import DAMAGED
from report_runs import make_run

from .programs import Program
from .runs import LostError, finish
from .tally import Tally


def empty(run: Path) -> None:
    (run / "config.yaml").write_bytes(b"")


def unreadable_picture(run: Path) -> None:
    for path in (run / "pictures").rglob("*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))


def loop(run: Path) -> None:
    (run / "again").symlink_to(run.parent)


ODD: dict[str, Callable[[Path], None]] = {  # that are rows as any other
    "pictures of nothing": unreadable_picture,
    "a link to where it lies": loop,
    "an empty config": empty,
}


def folders(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """One report over as many folders, and two that are sound."""
    rows, sound = Tally("folders", "damaged or hostile folders in a report"), Tally("folders", "sound ones beside them")
    runs = folder / "runs"
    expected: dict[str, str] = {}
    for number, name in enumerate(drawn.sample([*DAMAGED, *ODD], min(tries, len(DAMAGED) + len(ODD)))):
        run = make_run(runs / name, "vae", "digits", number, 5.0)
        if name in ODD:
            ODD[name](run)
            expected[name] = ""
        else:
            file, damage, expected[name] = DAMAGED[name]
            damage(run / file)
    for number, model in enumerate(("vae", "gan")):
        make_run(runs / f"sound {model}", model, "digits", number, 3.0)
    try:
        finish(Program("report", str(runs), "--out", str(folder / "report"), folder=folder))
    except LostError as error:
        rows.add(str(error))
        return [rows, sound]
    with open(folder / "report" / "results.csv", newline="") as file:
        reported = {Path(row["run"]).name: row for row in csv.DictReader(file)}
    for name, words in expected.items():
        said = reported.get(name, {"message": "no row"})["message"]
        rows.add(None if name in reported and words in said else f"{name}: {said}")
    for name in ("sound vae", "sound gan"):
        row = reported.get(name, {"status": "no row", "message": ""})
        sound.add(None if row["status"] == "finished" and not row["message"] else f"{name}: {row}")
    return [rows, sound]

"""kill -9 amid the saving of a file: it is the old one or the new one, and the next who saves there clears up."""

import os
import random
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from file_kinds import KINDS, OTHERS

from jobs.run_start import sole_use

from .programs import FORK, in_child
from .tally import Tally

Write = Callable[[Path, int], object]
VERSIONS = (1, 2)  # contents that take turns
LONGEST = 0.05  # seconds between the first of them and the kill
MOST = 200  # kills, of which one has to come amid the saving


def save(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """Kill writers of every kind of file in turns."""
    writers: dict[str, Write] = {kind.file: kind.write for kind in KINDS} | OTHERS
    tallies = {name: Tally("save", name) for name in writers}
    whole = {name: Whole(name, folder) for name in writers}
    for _, name in zip(range(tries), cycle(writers), strict=False):
        path = folder / name.replace(".", "_") / name
        tallies[name].add(killed(writers[name], path, whole[name], drawn))
    return list(tallies.values())


class Whole:
    """Whether a file is one that was written to its end: by its reader, or by its bytes where nobody reads it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.read = next((kind.read for kind in KINDS if kind.file == name), None)
        self.contents = []
        for version in VERSIONS if self.read is None else ():
            path = folder / f"whole {name}" / str(version) / name
            path.parent.mkdir(parents=True)
            in_child(OTHERS[name], path, version)
            self.contents.append(path.read_bytes())

    def fault(self, path: Path) -> str | None:
        """What is wrong with a file, in words; None: nothing."""
        if self.read is None:
            return None if path.read_bytes() in self.contents else f"{path.name} has {path.stat().st_size} bytes"
        try:
            self.read(path)
        except Exception as error:  # whatever a library says of half a file
            return f"{type(error).__name__}: {error}"
        return None


def killed(write: Write, path: Path, whole: Whole, drawn: random.Random) -> str | None:
    """Kill a process amid the saving of a file, and say what is lost."""
    path.parent.mkdir(exist_ok=True)
    attempts = 0
    while len(list(path.parent.iterdir())) < 2:  # the file, and beside it what is being written
        attempts += 1
        assert attempts < MOST, f"no kill of {MOST} came amid the saving of {path.name}"
        begun = FORK.Event()
        process = FORK.Process(target=save_on, args=(write, path, begun), daemon=True)
        process.start()
        begun.wait()
        time.sleep(drawn.uniform(0, LONGEST))
        process.kill()
        process.join()
    if fault := whole.fault(path):
        return f"torn: {fault}"
    in_child(drawn.choice([claim, lambda path: write(path, VERSIONS[0])]), path)
    left = [entry.name for entry in path.parent.iterdir() if entry != path]
    return f"{', '.join(left)} is left behind" if left else None


def save_on(write: Write, path: Path, begun: "FORK.Event") -> None:  # type: ignore[name-defined]
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    for version in cycle(VERSIONS):
        write(path, version)
        if version == VERSIONS[-1]:  # what has to be made once is made
            begun.set()


def claim(path: Path) -> None:
    """What the next command does in a run folder first."""
    with sole_use(path.parent):
        pass

"""Two processes that train together: if one is killed, the other ends soon, and says why."""

import os
import random
import signal
import subprocess
import sys
import time
from itertools import cycle, product
from pathlib import Path

from conftest import PROJECT

from .runs import MODELS, LostError, excerpt, has_begun, in_folder, is_resumable
from .tally import Tally

SOON = 15.0  # seconds to a word: Lightning looks at its processes every five, and ends the first of them
LIMIT = 120.0  # seconds to the end, and to a start: these are interpreters of their own, the second of which may import
WORDS = ("has lost another of those that train together", "terminated with code -9")


def ranks(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """Kill the first and the second process of VAE and GAN in turns."""
    cases = list(product(MODELS, (0, 1)))
    tallies = {case: Tally("ranks", f"{case[0]}, process {case[1]} killed") for case in cases}
    for number, (model, victim) in zip(range(tries), cycle(cases), strict=False):
        pair = Pair(model, folder / f"pair_{number}", drawn)
        try:
            pair.lose(victim)
            tallies[model, victim].add(None)
        except LostError as error:
            tallies[model, victim].add(str(error))
        finally:
            pair.end()
    return list(tallies.values())


class Pair:
    """A training of two processes (gloo), as `trainer=ddp` starts them."""

    def __init__(self, model: str, folder: Path, drawn: random.Random) -> None:
        folder.mkdir()
        self.run, self.printed, self.drawn = folder / "run", folder / "printed", drawn
        options = [option for option in MODELS[model] if not option.startswith("trainer.max_epochs")]
        command = [sys.executable, str(PROJECT / "train.py"), *options, "trainer.max_epochs=100000", "trainer=ddp"]
        with open(self.printed, "w") as printed:
            self.first = subprocess.Popen(
                [*command, in_folder(self.run)], cwd=folder, stdout=printed, stderr=printed, start_new_session=True
            )

    def lose(self, victim: int) -> None:
        """Kill one of the processes. Raises LostError unless the other ends soon, with a word and no traceback."""
        begin = time.monotonic()
        sign = self.drawn.choice([has_begun, is_resumable])  # before or after the first epoch
        while not sign(self.run) or not (second := self.second()):
            self.wait(begin, "has not begun")
        time.sleep(self.drawn.uniform(0, 1))
        os.kill((self.first.pid, second)[victim], signal.SIGKILL)
        begin, soon = time.monotonic(), SOON if sign is is_resumable else LIMIT
        while not any(words in self.said for words in WORDS):
            self.wait(begin, "has said nothing", soon, ended=False)
        while is_running((second, self.first.pid)[victim]):
            self.wait(begin, "has not ended", ended=False)
        if "Traceback" in self.said:
            raise LostError(f"a traceback: {excerpt(self.said)}")

    @property
    def said(self) -> str:
        return self.printed.read_text(errors="replace")

    def second(self) -> int | None:
        """The process that the first one has started."""
        children = Path(f"/proc/{self.first.pid}/task/{self.first.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def wait(self, begin: float, what: str, limit: float = LIMIT, ended: bool = True) -> None:
        if time.monotonic() - begin > limit or (ended and self.first.poll() is not None):
            raise LostError(f"it {what} after {time.monotonic() - begin:.0f} s: {excerpt(self.said)}")
        time.sleep(0.02)

    def end(self) -> None:
        """Kill what is left of both."""
        try:
            os.killpg(self.first.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.first.wait()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

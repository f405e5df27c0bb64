"""Two programs for one folder: exactly one has it, and what that comes to is what it would have come to alone."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import yaml

from run_folder.layout import CONFIG, METRICS

from .programs import Program
from .runs import Finished, LostError, check_equal, evaluation_of, excerpt, finish, from_last, in_folder, uninterrupted
from .tally import Tally

LATEST = 0.05  # seconds between the starts; an evaluation may be over in half a second
REFUSED = ("is in use by another program", "already holds a run")


def race(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """As many races, of all kinds in turns."""
    wholes = [uninterrupted("gan", folder / f"whole_{seed}", f"seed={seed}") for seed in (0, 1)]
    half = killed_half_way(wholes[0], folder / "half")
    tallies = {name: Tally("race", name) for name in RACES}
    for number, name in zip(range(tries), cycle(RACES), strict=False):
        work = folder / f"race_{number}"
        work.mkdir()
        try:
            RACES[name](Race(wholes, half, work, drawn))
            tallies[name].add(None)
        except LostError as error:
            tallies[name].add(str(error))
    return list(tallies.values())


def killed_half_way(whole: Finished, run: Path) -> Path:
    """The folder of a run that was killed after its second epoch."""
    program = Program("train", *whole.options, in_folder(run), folder=run.parent)
    program.wait_for("epoch 2/4")
    if not program.kill():
        raise LostError(f"it ended too early to be killed: {excerpt(program.output)}")
    return run


@dataclass
class Race:
    """What races are run with: two whole runs, one that was killed half way, and a folder of its own."""

    wholes: list[Finished]
    half: Path
    work: Path
    drawn: random.Random

    @property
    def run(self) -> Path:
        return self.work / "run"

    def of_trainings(self) -> None:
        winner = self.winner(lambda turn: Program(
            "train", *self.wholes[turn].options, in_folder(self.run), folder=self.work
        ))  # fmt: skip
        seed = yaml.safe_load((self.run / CONFIG).read_text())["seed"]
        if seed != winner:
            raise LostError(f"the run is of seed {seed}, and that of seed {winner} ended well")
        finish(evaluation_of(self.run))
        check_equal(self.run, self.wholes[winner].results)

    def of_resumed(self) -> None:
        shutil.copytree(self.half, self.run)
        options = self.wholes[0].options
        self.winner(lambda _: Program("train", *options, *from_last(self.run), folder=self.work))
        finish(evaluation_of(self.run))
        check_equal(self.run, self.wholes[0].results)

    def of_evaluations(self) -> None:
        shutil.copytree(self.wholes[0].folder, self.run)
        shutil.rmtree(self.run / "evaluation")
        self.winner(lambda _: evaluation_of(self.run))
        check_equal(self.run, self.wholes[0].results)

    def of_sweeps(self) -> None:
        options = [option for option in self.wholes[0].options if not option.startswith("seed=")]
        sweep = self.work / "sweep"
        begun = Program("train", "-m", *options, "seed=0,1", f"hydra.sweep.dir={sweep}", folder=self.work)
        begun.ended_within(self.drawn.uniform(0.5, 1.5) * self.wholes[0].training)
        begun.kill()
        self.winner(lambda _: Program("train", f"sweep.resume={sweep}", folder=self.work))
        jobs = sorted(path.parent for path in sweep.glob(f"*/*/{METRICS}"))
        if len(jobs) != 2:
            raise LostError(f"of the sweep's two jobs {len(jobs)} are finished")
        for job, whole in zip(jobs, self.wholes, strict=True):
            finish(evaluation_of(job))
            check_equal(job, whole.results)

    def winner(self, start: Callable[[int], Program]) -> int:
        """Start two programs, and return which of them, 0 or 1, had the folder. Raises LostError unless one had."""
        turns = self.drawn.sample([0, 1], 2)
        programs: dict[int, Program] = {}
        for turn in turns:
            programs[turn] = start(turn)
            time.sleep(self.drawn.uniform(0, LATEST))
        codes = {turn: program.code() for turn, program in programs.items()}
        said = "; ".join(program.output[-300:] for program in programs.values())
        if sorted(codes.values()) != [0, 1]:
            raise LostError(f"they ended with {sorted(codes.values())}: {said}")
        loser = next(turn for turn, code in codes.items() if code == 1)
        if not any(words in programs[loser].output for words in REFUSED) or "Traceback" in said:
            raise LostError(f"it is not said why: {said}")
        return 1 - loser


RACES: dict[str, Callable[[Race], None]] = {
    "two trainings": Race.of_trainings,
    "two that resume a run": Race.of_resumed,
    "two evaluations of a run": Race.of_evaluations,
    "two that resume a sweep": Race.of_sweeps,
}

"""kill -9 at random moments: what was killed, and resumed as often as it takes, ends as if nothing had happened."""

import random
from pathlib import Path

from run_folder.layout import EVALUATION, METRICS
from run_folder.records import finished_record

from .programs import Program
from .runs import (
    MODELS,
    Finished,
    LostError,
    check_equal,
    evaluation_of,
    finish,
    from_last,
    in_folder,
    is_resumable,
    uninterrupted,
)
from .tally import Tally

KILLS = 5  # of one run at most, in its training; as many as MORE in its evaluation
MORE = 2
AFTER_DATA = 0.5  # of a program's time


class Life:
    """A run that is killed now and then until it is finished."""

    def __init__(self, whole: Finished, folder: Path, drawn: random.Random) -> None:
        self.whole, self.folder, self.drawn = whole, folder, drawn
        self.killed_while: list[str] = []
        self.run = folder / "run"

    def live(self, kills: int) -> None:
        """Train and evaluate with at most as many kills. Raises LostError if anything is not as uninterrupted."""
        self.folder.mkdir()
        in_evaluation = self.drawn.randint(0, min(kills, MORE))
        while not self.trains_on(kills - in_evaluation - len(self.killed_while)):
            pass
        spent = len(self.killed_while)
        while not self.is_evaluated(in_evaluation + spent - len(self.killed_while)):
            pass
        check_equal(self.run, self.whole.results)

    def trains_on(self, kills: int) -> bool:
        """Start or resume the training, killed if there are kills left, and return whether the run is finished."""
        resumes = is_resumable(self.run)
        where = from_last(self.run) if resumes else [in_folder(self.run)]
        program = Program("train", *self.whole.options, *where, folder=self.folder)
        if not kills or not self.killed(program, self.whole.training):
            finish(program)
            return True
        self.killed_while.append(stage(program.output, resumes))
        return finished_record(self.run) is not None

    def is_evaluated(self, kills: int) -> bool:
        """Evaluate the run, killed if there are kills left, and return whether that was done."""
        program = evaluation_of(self.run)
        if not kills or not self.killed(program, self.whole.evaluating):
            finish(program)
            return True
        self.killed_while.append("evaluating")
        return (self.run / EVALUATION / METRICS).exists()

    def killed(self, program: Program, seconds: float) -> bool:
        """Kill a program at a random moment of its usual time; False: it had ended before.

        A small run is over soon after it has begun: every second moment is of the time after its data was read.
        """
        if self.drawn.random() < 0.5:
            program.wait_for("data: ")
            seconds *= AFTER_DATA
        return not program.ended_within(self.drawn.uniform(0, seconds)) and program.kill()


def stage(output: str, resumes: bool) -> str:
    """What a training was doing when it was killed, by what it had printed."""
    if "testing " in output:
        return "testing"
    if resumes:
        return "resuming"
    return "training and scoring" if "epoch 1/" in output else "starting"


def kill(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """Lives of VAE and GAN in turns, until as many kills are spent."""
    wholes = {model: uninterrupted(model, folder / model) for model in MODELS}
    tallies: dict[str, Tally] = {}
    left, number = tries, 0
    while left > 0:
        model = list(MODELS)[number % len(MODELS)]
        life = Life(wholes[model], folder / f"life_{number}", drawn)
        number += 1
        loss = None
        try:
            life.live(min(left, drawn.randint(1, KILLS + MORE)))
        except LostError as error:
            loss = str(error)
        left -= len(life.killed_while)
        for place, name in enumerate(life.killed_while):
            tally = tallies.setdefault(f"{model} {name}", Tally("kill", f"{model} {name}"))
            tally.add(loss if place == len(life.killed_while) - 1 else None)
        if loss and not life.killed_while:
            raise LostError(f"not killed at all: {loss}")
    return [tallies[name] for name in sorted(tallies)]

"""SIGTERM and Ctrl-C at random moments: the right exit code at once, and advice that works when it is followed."""

import random
import re
import shlex
import shutil
import time
from itertools import cycle
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

from run_folder.layout import EVALUATION, METRICS
from run_folder.records import finished_record

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
from .tally import Tally

SOON = 3.0  # seconds, on a machine that does nothing else
LAST_WORDS = ("dashboard  tensorboard", "scores and pictures are in")  # of a training, and of an evaluation
ADVICE = re.compile(r"; (?:go on with|no epoch had ended yet, start it anew with): (python train\.py .*)")
IN_EVALUATION = 0.2  # of the signals


def stop(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """As many SIGTERMs, and as many SIGINTs, to VAE and GAN in turns."""
    wholes = {model: uninterrupted(model, folder / model) for model in MODELS}
    tallies = []
    for number, name in ((SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")):
        tally = Tally("signal", name)
        for index, model in zip(range(tries), cycle(MODELS), strict=False):
            work = folder / f"{name}_{index}"
            work.mkdir()
            try:
                send = to_evaluation if drawn.random() < IN_EVALUATION else to_training
                send(number, wholes[model], work, drawn)
                tally.add(None)
            except LostError as error:
                tally.add(str(error))
        tallies.append(tally)
    return tallies


def to_training(number: Signals, whole: Finished, work: Path, drawn: random.Random) -> None:
    """Stop a training, follow the advice, and raise LostError if the run does not end as if it had not been stopped."""
    run, said = work / "run", None
    while said is None:
        shutil.rmtree(run, ignore_errors=True)
        program = Program("train", *whole.options, in_folder(run), folder=work)
        said = stopped(program, number, drawn.uniform(0, whole.training))
    if not has_begun(run):  # nothing is done yet, and nothing in the way
        finish(Program("train", *whole.options, in_folder(run), folder=work))
    elif finished_record(run) is None:  # else all is done but its summary
        advice = ADVICE.search(said)
        if advice is None:
            raise LostError(f"no advice: {excerpt(said)}")
        finish(Program("train", *shlex.split(advice[1])[2:], folder=work))
        if f"{run}" not in advice[1]:
            (run,) = (path.parent for path in (work / "outputs").rglob(METRICS))
    finish(evaluation_of(run))
    check_equal(run, whole.results)


def to_evaluation(number: Signals, whole: Finished, work: Path, drawn: random.Random) -> None:
    """Stop an evaluation, which can be done again."""
    run = work / "run"
    shutil.copytree(whole.folder, run)
    said = None
    while said is None:
        shutil.rmtree(run / EVALUATION, ignore_errors=True)  # it may have been stopped before it made one
        program = evaluation_of(run)
        said = stopped(program, number, drawn.uniform(0, whole.evaluating))
    if number == SIGINT and "stopped by Ctrl-C" not in said:
        raise LostError(f"no word: {excerpt(said)}")
    finish(evaluation_of(run))
    check_equal(run, whole.results)


def stopped(program: Program, number: Signals, moment: float) -> str | None:
    """Send a signal after some seconds, and return what a program had printed at its end; None: it was over by then.

    Raises LostError for a wrong end or a late one.
    """
    if program.ended_within(moment):
        return None
    program.send(number)
    begin = time.monotonic()
    try:
        code = program.code()
    except TimeoutError as error:
        raise LostError(str(error)) from error
    took, said = time.monotonic() - begin, program.output
    if any(words in said for words in LAST_WORDS):
        return None
    if code != 128 + number:
        raise LostError(f"exit code {code}, not {128 + number}: {excerpt(said)}")
    if took > SOON:
        raise LostError(f"it took {took:.1f} s")
    if "Traceback" in said:
        raise LostError(f"a traceback: {excerpt(said)}")
    return said

"""How signals end a program: at once, with advice what to do next."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from .processes import is_first_process

REPEAT_AFTER = 5.0  # seconds
ENDING = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}  # what a person calls them
REPETITION = [signal.SIGALRM] if hasattr(signal, "SIGALRM") else []  # not on Windows
LOSS_OF_CHILDREN = [signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []


class Stopped(SystemExit):
    """The program was ended by a signal; its exit code is a shell's for that."""

    code: int

    def __init__(self, number: int, advice: str) -> None:
        super().__init__(number, advice)
        self.code = 128 + number
        self.advice = advice

    def __str__(self) -> str:
        return f"stopped by {ENDING[signal.Signals(self.args[0])]}"


class StoppedSweep(Stopped):
    """A sweep was ended by a signal while its jobs ran in other processes, or between two of them."""


@contextmanager
def ended_by_signals(advice: Callable[[], str]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end what is inside at once, with advice what to do next.

    Lightning only notes the first, looks at its note between batches, and then ends with 0, as if all were done; at
    the second it ends with 1, and without a word. Here a second one changes nothing, since it would cut short what
    is still to be written or removed; what hangs there is cut short by the repetition of the first. Where there is no
    alarm to repeat it (Windows), the second one does that.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    first: list[int] = []

    def end(signum: int, frame: FrameType | None) -> None:
        if first and REPETITION and signum not in REPETITION:
            return
        first.append(signum)
        if REPETITION:  # compiled code, in whose call the signal may arrive, can swallow an exception
            signal.setitimer(signal.ITIMER_REAL, REPEAT_AFTER)
        for number in LOSS_OF_CHILDREN:  # PyTorch raises where a loader's worker is lost: who ends a group ends it, too
            signal.signal(number, lambda signum, frame: None)  # until Lightning puts its own back
        raise Stopped(first[0], advice())

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # a background job's
    before = {number: signal.signal(number, end) for number in [*heard, *REPETITION]}
    try:
        yield
    except BaseException as error:
        if first and not isinstance(error, Stopped):  # what came of it, where it was swallowed on its way out
            raise Stopped(first[0], advice()) from error
        raise
    finally:
        if REPETITION:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def end_by_sigterm(advice: str) -> None:
    """From now on SIGTERM ends this sweep with advice, where `ended_by_signals` does not; a second one changes nothing.

    Not where it is ignored, nor beside the main thread, where handlers can't be set.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, lambda number, frame: None)
        raise StoppedSweep(number, advice)

    signal.signal(signal.SIGTERM, end)


def print_stopped(end: Stopped) -> None:
    if is_first_process():  # the others are stopped by the same key
        print(f"{end}; {end.advice}", file=sys.stderr)


def end_with_threads(end: Stopped, clean_up: Callable[[], object]) -> NoReturn:
    """End a stopped program whose other threads or processes may still compute, once it has cleaned up.

    Python itself, before 3.14, would end a thread that is in the middle of a tensor operation by unwinding its stack,
    which C++ answers by aborting the program.
    """
    if REPETITION:
        signal.setitimer(signal.ITIMER_REAL, 0)  # or the signal would cut cleaning up short
    clean_up()
    print_stopped(end)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code)

"""The boundary to the person at the command line: what goes wrong ends as one message and an exit code."""

import io
import logging
import os
import re
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from foundation.errors import UserError
from run_folder.settings import decides_weights, setting_of

from .override_check import check_overrides
from .run_start import unwritable
from .sweeps import register_folder_name, resumed

PROJECT = Path(__file__).parents[1]
TRACEBACK_SWITCH = "HYDRA_FULL_ERROR"
WANTS_TRACEBACK = os.environ.get(TRACEBACK_SWITCH) == "1"


REPEAT_AFTER = 5.0  # seconds
ENDING = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}  # what a person calls them
REPETITION = [signal.SIGALRM] if hasattr(signal, "SIGALRM") else []  # not on Windows


class Stopped(SystemExit):
    """The program was ended by a signal; its exit code is a shell's for that."""

    def __init__(self, number: int, advice: str) -> None:
        super().__init__(number, advice)
        self.code = 128 + number
        self.advice = advice

    def __str__(self) -> str:
        return f"stopped by {ENDING[signal.Signals(self.args[0])]}"


def command_of_run() -> str | None:
    """The command that makes this run again, without overrides that decide nothing of it; None outside of a command."""
    if not HydraConfig.initialized():
        return None
    hydra_config = HydraConfig.get()
    overrides = [o for o in hydra_config.overrides.task if decides_weights(setting_of(o))]
    if hydra_config.sweeper.get("params"):  # an experiment that is a sweep: without this the command would be all of it
        overrides.append("hydra.mode=RUN")
    return shlex.join(["python", "train.py", *overrides])


def command_to_resume(checkpoint: Path) -> str:
    """The command that goes on with this job: with its sweep, or with its run, from the checkpoint where there is one.

    Without a checkpoint the run starts anew, in a folder of its own.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return shlex.join(["python", "train.py", override("sweep.resume", Path(hydra.sweep.dir).resolve())])
    settled = ("hydra.mode", "hydra.run.dir", "ckpt_path")
    kept = [given for given in (*hydra.overrides.hydra, *hydra.overrides.task) if setting_of(given) not in settled]
    places = {"hydra.run.dir": checkpoint.parents[1], "ckpt_path": checkpoint} if checkpoint.is_file() else {}
    return shlex.join(["python", "train.py", *kept, *(override(name, path) for name, path in places.items())])


def override(name: str, path: Path) -> str:
    """`name=path` as Hydra reads it: what is more than letters, digits and plain signs is quoted."""
    plain = re.fullmatch(r"[\w./:@%+-]+", str(path), re.ASCII)
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}={path}" if plain else f"{name}='{escaped}'"


def print_anywhere() -> None:
    """Have the output say what its encoding can't as question marks, instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def reporting() -> Iterator[None]:
    """Around one job: end the program with its error; in a sweep, whose other jobs still run, only print it.

    Hydra raises the error of the first job that failed when the sweep ends.
    """
    print_anywhere()  # a launcher's other processes come in here
    try:
        yield
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            end_with(error)
        overrides = " ".join(HydraConfig.get().overrides.task)
        print(f"job {HydraConfig.get().job.num} ({overrides}) failed: {message_of(error)}", file=sys.stderr)
        for failure in (error, error.__cause__):
            if failure is not None:
                traceback.clear_frames(failure.__traceback__)  # or Hydra keeps model and data with it
        if isinstance(error, OSError):
            raise UserError(message_of(error)) from error  # so that `run` can tell it from Hydra's own
        raise


def run(main: Callable[[], None]) -> None:
    """Run a Hydra main function; end with exit code 1 and one message where something is wrong with the input.

    HYDRA_FULL_ERROR=1 shows the traceback instead. Anything unexpected is shown with its traceback anyway.
    """
    os.environ[TRACEBACK_SWITCH] = "1"  # or Hydra prints errors itself, with a traceback for most
    print_anywhere()
    register_folder_name()
    try:
        sys.argv[1:] = resumed(sys.argv[1:])
        check_overrides(sys.argv[1:])
        main()
    except Exception as error:
        is_hydras = isinstance(error, HydraException)  # some of these are OSErrors too
        # Outside of a job a file's error is that of the run folder, which Hydra makes.
        end_with(unwritable(error) if isinstance(error, OSError) and not is_hydras else error)
    except Stopped as end:
        print(f"{end}; {end.advice}", file=sys.stderr)
        raise
    except KeyboardInterrupt:  # before anything was done that could be lost, or after all was
        print("stopped by Ctrl-C", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


@contextmanager
def ended_by_signals(advice: Callable[[], str]) -> Iterator[None]:
    """SIGTERM and Ctrl-C end what is inside at once, with advice what to do next.

    Lightning only notes the first, looks at its note between batches, and then ends with 0, as if all were done; at
    the second it ends with 1, and without a word.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    first: list[int] = []

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        first.append(signum)
        if REPETITION:  # compiled code, in whose call the signal may arrive, can swallow an exception
            signal.setitimer(signal.ITIMER_REAL, REPEAT_AFTER)
        raise Stopped(first[0], advice())

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # a background job's
    before = {number: signal.signal(number, end) for number in [*heard, *REPETITION]}
    try:
        yield
    finally:
        if REPETITION:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with(error: Exception) -> NoReturn:
    """Exit with code 1 and the message of an error that is the user's to mend; raise any other."""
    if not is_the_users(error) or WANTS_TRACEBACK:
        raise error
    print(f"error: {message_of(error)}\n({TRACEBACK_SWITCH}=1 shows where it came from)", file=sys.stderr)
    sys.exit(1)


def is_the_users(error: BaseException) -> bool:
    """Whether the user can mend what an error says, by other input or on the machine."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:  # it wraps any other
        return is_the_users(error.__cause__) or not is_raised_here(error.__cause__)
    kinds = (UserError, HydraException, OmegaConfBaseException, OSError)
    return isinstance(error, kinds) or is_misconfiguration(error)


def is_misconfiguration(error: BaseException) -> bool:
    """Whether an error is Lightning's word for impossible settings, found without importing Lightning for --help."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return lightning is not None and isinstance(error, lightning.MisconfigurationException)


def is_raised_here(error: BaseException) -> bool:
    """Whether it was a line of this project, not of a library, that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    origin = Path(frames[-1].filename) if frames else PROJECT
    return origin.is_relative_to(PROJECT) and "site-packages" not in origin.parts


def quiet_libraries() -> None:
    """Silence what the libraries say at every run and no user can act on. Call it once Lightning is imported."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are gathered from memory; workers would slow it down
        ".*Experiment logs directory.*exists and is not empty.*",  # a run folder is claimed by train.py
        ".*isinstance.treespec, LeafSpec.. is deprecated.*",
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*when logging on epoch level in distributed setting.*",  # what is logged there is the same in all processes
        ".*find_unused_parameters=True was specified.*",  # not by a VAE, but by the GAN that shares the strategy
        ".*will save all extracted features in buffer.*",  # they are at hand anyway
    ):
        warnings.filterwarnings("ignore", message)


def message_of(error: BaseException) -> str:
    """The error's own words, and those of its cause where Hydra hides them there."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    message, cause = str(error).strip(), error.__cause__
    if isinstance(error, InstantiationException) and isinstance(cause, UserError):
        return message_of(cause)
    if isinstance(error, InstantiationException) and cause is not None:
        return f"{message.split('full_key: ')[-1].strip()}: {message_of(cause)}"
    if isinstance(error, HydraException) and cause is not None and str(cause) not in message:
        message = f"{message}\n{cause}"
    return message

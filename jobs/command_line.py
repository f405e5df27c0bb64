"""The boundary to the person at the command line: what goes wrong ends as one message and an exit code."""

import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from foundation.errors import ConfigError, UserError

from .sweeps import resumed

TRACEBACK_SWITCH = "HYDRA_FULL_ERROR"
WANTS_TRACEBACK = os.environ.get(TRACEBACK_SWITCH) == "1"


class Terminated(SystemExit):
    """The program was told to end by SIGTERM; its exit code is what a shell says of that."""

    def __init__(self, advice: str) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.advice = advice


@contextmanager
def as_user_error(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds, raised inside, are the user's to know: their message is shown without a traceback."""
    try:
        yield
    except kinds as error:
        raise UserError(str(error)) from error


@contextmanager
def reporting() -> Iterator[None]:
    """Around one job. In a sweep, tell at once which job failed: Hydra goes on and reports the first at the end."""
    try:
        yield
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            end_with(error)
        else:
            overrides = " ".join(HydraConfig.get().overrides.task)
            print(f"job {HydraConfig.get().job.num} ({overrides}) failed: {error}", file=sys.stderr)
            for failure in (error, error.__cause__):
                if failure is not None:
                    traceback.clear_frames(failure.__traceback__)  # or Hydra keeps model and data with it
        raise


def run(main: Callable[[], None]) -> None:
    """Run a Hydra main function; end with exit code 1 and one message where something is wrong with the input.

    HYDRA_FULL_ERROR=1 shows the traceback instead. Anything unexpected is shown with its traceback anyway.
    """
    os.environ[TRACEBACK_SWITCH] = "1"  # or Hydra prints errors itself, with a traceback for most
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    try:
        with as_user_error(ConfigError):
            sys.argv[1:] = resumed(sys.argv[1:])
        main()
    except Exception as error:
        end_with(error)
    except Terminated as end:
        print(f"stopped by SIGTERM; {end.advice}", file=sys.stderr)
        raise


@contextmanager
def ended_by_sigterm(advice: str) -> Iterator[None]:
    """SIGTERM ends what is inside at once, with advice what to do next.

    Lightning only notes the signal, looks at its note between batches, and then ends with 0, as if all were done.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return

    def end(signum: int, frame: FrameType | None) -> NoReturn:
        raise Terminated(advice)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with(error: Exception) -> NoReturn:
    """Exit with code 1 and the message of an error that is the user's to mend; raise any other."""
    theirs = isinstance(error, UserError | HydraException | OmegaConfBaseException | OSError)
    if not theirs or WANTS_TRACEBACK:
        raise error
    print(f"error: {message_of(error)}\n({TRACEBACK_SWITCH}=1 shows where it came from)", file=sys.stderr)
    sys.exit(1)


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


def message_of(error: Exception) -> str:
    """The error's own words, and those of its cause where Hydra hides them there."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}. Run folders are chosen with hydra.run.dir= and hydra.sweep.dir="
    message = str(error).strip()
    cause = error.__cause__
    if isinstance(error, InstantiationException) and cause is not None:
        return f"{message.split('full_key: ')[-1].strip()}: {cause}"
    if isinstance(error, HydraException) and cause is not None and str(cause) not in message:
        message = f"{message}\n{cause}"
    return message


def folder_name(overrides: str, number: int) -> str:
    """A sweep job's overrides as a folder name that needs no quotes on a command line."""
    name = re.sub(r"[^\w.+]+", "-", overrides).strip("-")
    # What was changed or cut could make two jobs' names the same.
    return name if name and name == overrides and len(name) <= 200 else f"{name[:200]}_{number}".lstrip("_")

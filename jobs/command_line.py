"""The boundary to the person at the command line: what goes wrong ends as one message and an exit code."""

import logging
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeGuard

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from foundation.allocator import keep_freed_memory
from foundation.atomic import no_room
from foundation.errors import ConfigError, UserError
from foundation.memory import asked_for, is_out_of_memory
from foundation.printing import print_anywhere
from foundation.programs import override, program, this_command
from foundation.progress import Job, progress_of
from foundation.secrets import without_passwords
from run_folder.settings import decides_weights, setting_of

from .composition import load
from .override_check import check_overrides
from .paths import expanded
from .processes import is_first_process, leave_allocation_alone
from .run_start import unwritable
from .spelling import what_is_wrong
from .stopping import Stopped, StoppedSweep, end_with_threads, print_stopped
from .sweep_jobs import has_several_values, left_to_jobs
from .sweeps import command_to_resume_sweep, register_folder_name, resumed, unlock_sweeps

PROJECT = Path(__file__).parents[1]
OWN = {  # what is this project's own there
    "benchmarks", "callbacks", "datamodules", "explorer", "foundation", "hydra_plugins", "jobs", "lightning_modules",
    "reports", "run_folder", "scoring", "trackers", "train", "evaluate", "explore", "export", "prepare", "report",
}  # fmt: skip
TRACEBACK_SWITCH = "HYDRA_FULL_ERROR"
OWN_SWITCH = "VAE_VS_GAN_FULL_ERROR"  # what that was before `run` set it, for the processes that Lightning starts
GIVEN = None if is_first_process() else os.environ.get(OWN_SWITCH)
WANTS_TRACEBACK = (GIVEN or os.environ.get(TRACEBACK_SWITCH)) == "1"


def command_of_run() -> str | None:
    """The command that makes this run again, without overrides that decide nothing of it; None outside of a command."""
    if not HydraConfig.initialized():
        return None
    hydra_config = HydraConfig.get()
    overrides = [o for o in hydra_config.overrides.task if decides_weights(setting_of(o))]
    swept = hydra_config.sweeper.get("params") or hydra_config.sweeper.get("studies")
    if swept:  # an experiment that is a sweep: without this the command would be all of it
        overrides.append("hydra.mode=RUN")
    return shlex.join([*program("train"), *overrides])


def command_to_resume(checkpoint: Path) -> str:
    """The command that goes on with this job: with its sweep, or with its run, from the checkpoint where there is one.

    Without a checkpoint the run starts anew, in a folder of its own.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        return command_to_resume_sweep(Path(hydra.sweep.dir))
    lightnings = ("hydra.job.name", "hydra.output_subdir")  # which it gives its other processes
    settled = ("hydra.mode", "hydra.run.dir", "ckpt_path", *lightnings)
    given = map(without_passwords, (*hydra.overrides.hydra, *hydra.overrides.task))
    kept = [override for override in given if setting_of(override) not in settled]
    places = {"hydra.run.dir": checkpoint.parents[1], "ckpt_path": checkpoint} if checkpoint.is_file() else {}
    return shlex.join([*program("train"), *kept, *(override(name, path) for name, path in places.items())])


@contextmanager
def reporting() -> Iterator[None]:
    """Around one job: end the program with its error; in a sweep, whose other jobs still run, only print it.

    Hydra raises the error of the first job that failed when the sweep ends.
    """
    print_anywhere()  # a launcher's other processes come in here
    keep_freed_memory()
    leave_allocation_alone()
    try:
        with progress_of(this_job()):
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


def this_job() -> Job:
    """The job that this process runs, as its progress is to be shown."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return Job(is_shown=is_first_process())
    name = os.path.relpath(hydra.runtime.output_dir, Path(hydra.runtime.cwd, hydra.sweep.dir))
    is_alone = str(hydra.launcher._target_).endswith(".BasicLauncher")  # others run jobs beside each other
    return Job(name, has_terminal=is_alone, is_shown=is_first_process())


def run(main: Callable[[], None], config: str = "config") -> None:
    """Run a Hydra main function of a config; end with exit code 1 and one message where the input is wrong.

    HYDRA_FULL_ERROR=1 shows the traceback instead. Anything unexpected is shown with its traceback anyway.
    """
    os.environ[OWN_SWITCH] = "1" if WANTS_TRACEBACK else "0"
    os.environ[TRACEBACK_SWITCH] = "1"  # or Hydra prints errors itself, with a traceback for most
    print_anywhere()
    register_folder_name()
    try:
        sys.argv[1:] = resumed(expanded(sys.argv[1:]))
        check_overrides(sys.argv[1:])
        try:
            main()
        except ConfigCompositionException:
            arguments = left_to_jobs(sys.argv[1:], partial(composing, config=config))
            if arguments == sys.argv[1:] or WANTS_TRACEBACK:
                raise
            sys.argv[1:] = arguments
            main()
    except Exception as error:
        if is_of_ctrl_c(error):
            end_at_ctrl_c()
        end_with(unwritable(error) if is_of_hydras_folder(error) else spelt(error, config))
    except StoppedSweep as end:
        end_with_threads(end, unlock_sweeps)  # joblib's processes, left to end with this one, print errors by the dozen
    except Stopped as end:
        print_stopped(end)
        raise
    except KeyboardInterrupt:  # before anything was done that could be lost, or after all was
        end_at_ctrl_c()


def end_at_ctrl_c() -> NoReturn:
    if is_first_process():
        print("stopped by Ctrl-C", file=sys.stderr)
    sys.exit(128 + signal.SIGINT)


def is_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: OmegaConf, interrupted, trips over what it had not finished."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def spelt(error: Exception, config: str) -> Exception:
    """An error of the command line's overrides, with what to type instead where that is known."""
    if not isinstance(error, ConfigCompositionException) or WANTS_TRACEBACK:
        return error
    given = get_args_parser().parse_args(sys.argv[1:])
    single = [override for override in given.overrides if not has_several_values(override)]
    found = what_is_wrong(single, partial(composing, config=config))
    return ConfigError(found) if found else error


def composing(overrides: Sequence[str], config: str) -> DictConfig:
    """What overrides compose to, with the folder of configs that is on the command line, if one is."""
    given = get_args_parser().parse_args(sys.argv[1:])
    places = [f"hydra.searchpath=[file://{Path(given.config_dir).resolve()}]"] if given.config_dir else []
    return load([*places, *overrides], given.config_name or config)


def end_with(error: Exception) -> NoReturn:
    """Exit with code 1 and the message of an error that is the user's to mend; raise any other."""
    if not is_the_users(error) or WANTS_TRACEBACK:
        raise error
    message = message_of(error)
    if is_out_of_memory(error):
        message = f"out of memory{asked_for(error)}"
    if is_out_of_memory(error) or (no_room(error) and not getattr(error, "remedy", "")):
        message += f". Make room, and give the command again: {this_command()}"
    print(f"error: {message}\n({TRACEBACK_SWITCH}=1 shows where it came from)", file=sys.stderr)
    sys.exit(1)


def is_the_users(error: BaseException) -> bool:
    """Whether the user can mend what an error says, by other input or on the machine."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:  # it wraps any other
        return is_the_users(error.__cause__) or not is_raised_here(error.__cause__)
    kinds = (UserError, HydraException, OmegaConfBaseException, OSError)
    return isinstance(error, kinds) or is_misconfiguration(error) or is_out_of_memory(error)


def is_of_hydras_folder(error: Exception) -> TypeGuard[OSError]:
    """Whether Hydra could not make the folder of a run or a sweep."""
    if not isinstance(error, OSError) or isinstance(error, HydraException):  # some of these are both
        return False
    frames = traceback.extract_tb(error.__traceback__)
    hydra = Path(sys.modules["hydra"].__file__ or "").parent
    caller = next((frame for frame in reversed(frames) if frame.name != "mkdir"), None)
    return caller is not None and Path(caller.filename).is_relative_to(hydra)


def is_misconfiguration(error: BaseException) -> bool:
    """Whether an error is Lightning's word for impossible settings, found without importing Lightning for --help."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return lightning is not None and isinstance(error, lightning.MisconfigurationException)


def is_raised_here(error: BaseException) -> bool:
    """Whether it was a line of this project, not of a library, that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    origin = Path(frames[-1].filename if frames else __file__)
    if not origin.is_relative_to(PROJECT):
        return False
    is_own = origin.relative_to(PROJECT).parts[0].removesuffix(".py") in OWN  # installed, it lies among the libraries
    return is_own or "site-packages" not in origin.parts


def quiet_libraries() -> None:
    """Silence what the libraries say at every run and no user can act on. Call it once Lightning is imported."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Which of several processes has ended, before all others are killed for it.
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    for message in (
        ".*does not have many workers.*",  # batches are gathered from memory; workers would slow it down
        ".*Experiment logs directory.*exists and is not empty.*",  # a run folder is claimed by train.py
        ".*isinstance.treespec, LeafSpec.. is deprecated.*",
        ".*Your `IterableDataset` has `__len__` defined.*",  # and each worker of ours has its own part
        ".*number of training batches.*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*when logging on epoch level in distributed setting.*",  # what is logged there is the same in all processes
        ".*will save all extracted features in buffer.*",  # they are at hand anyway
        ".*You requested to overfit but enabled.*shuffling.*",  # debug=overfit asks for it
    ):
        warnings.filterwarnings("ignore", message)
    threading.excepthook = partial(end_of_thread, threading.excepthook)


def end_of_thread(before: Callable[[threading.ExceptHookArgs], object], ended: threading.ExceptHookArgs) -> None:
    """Print an error that has ended a thread, unless the disk is full.

    Of that TensorBoard's thread hands its error to whoever flushes the log next, who ends the run with a word.
    """
    if ended.exc_value is None or not no_room(ended.exc_value):
        before(ended)


def message_of(error: BaseException) -> str:
    """The error's own words, and those of its cause where Hydra hides them there."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MissingMandatoryValue) and error.full_key:
        return f"{error.full_key}: it has to be given, {error.full_key}=…"
    message, cause = str(error).strip(), error.__cause__
    if isinstance(error, InstantiationException) and isinstance(cause, UserError):
        return message_of(cause)
    if isinstance(error, InstantiationException) and cause is not None:
        return f"{message.split('full_key: ')[-1].strip()}: {message_of(cause)}"
    if isinstance(error, HydraException) and cause is not None and str(cause) not in message:
        message = f"{message}\n{cause}"
    return message

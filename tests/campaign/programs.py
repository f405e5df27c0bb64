"""This project's commands as children of one process, which has imported all that they need.

A fresh interpreter would import for some ten seconds before it does anything that could go wrong. The children share
nothing with each other or with later ones but those imports.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object

import evaluate
import export
import report
import train
from jobs import batch_check, building, evaluation, exporting, job, run  # noqa: F401, what a command would import
from jobs.command_line import TRACEBACK_SWITCH
from jobs.command_line import run as run_command
from reports import page  # noqa: F401
from run_folder.choices import choices_in

for targets in choices_in().named.values():
    for target in targets:
        get_object(target)

COMMANDS: dict[str, Callable[[], object]] = {
    "train": lambda: run_command(train.main),
    "evaluate": lambda: run_command(evaluate.main, "evaluate"),
    "export": lambda: run_command(export.main, "export"),
    "report": report.main,
}
FORK = multiprocessing.get_context("fork")
LIMIT = 300.0  # seconds, after which a program hangs


class Program:
    """`python <command>.py <arguments>`, started in a folder."""

    def __init__(
        self, command: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.line = " ".join([f"{command}.py", *arguments])
        self._file = tempfile.TemporaryFile("a+b")  # noqa: SIM115, it is open for as long as this is
        given = (command, arguments, folder, environment or {}, self._file.fileno())
        self._process = FORK.Process(target=_become, args=given, daemon=True)
        self._process.start()

    @property
    def output(self) -> str:
        """What it has printed by now, on both of its streams."""
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, words: str) -> None:
        """Until it has printed this, or ended."""
        while words not in self.output and not self.ended_within(0.005):
            pass

    def ended_within(self, seconds: float) -> bool:
        self._process.join(seconds)
        return self._process.exitcode is not None

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> bool:
        """Kill it, and return whether that is what ended it."""
        self._process.kill()
        self._process.join()
        return self._process.exitcode == -signal.SIGKILL

    def code(self, limit: float = LIMIT) -> int:
        """Its exit code, as a shell has it, once it has ended. Raises TimeoutError, and kills it, if it does not."""
        if not self.ended_within(limit):
            self.kill()
            raise TimeoutError(f"{self.line} had not ended after {limit:.0f} s: {self.output[-300:]}")
        code = self._process.exitcode
        assert code is not None
        return code if code >= 0 else 128 - code


def in_child(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in a child, which keeps what it remembers to itself."""
    process = FORK.Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{function.__name__} ended with {process.exitcode}"


def _become(
    command: str, arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], output: int
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    os.environ.pop(TRACEBACK_SWITCH, None)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    sys.argv = [f"{command}.py", *arguments]
    atexit._clear()  # what the parent would do at its end
    try:
        COMMANDS[command]()
    finally:
        atexit._run_exitfuncs()  # as an interpreter does, and multiprocessing does not

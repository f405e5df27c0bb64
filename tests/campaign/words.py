"""Bad command lines: each ends with one message, and leaves nothing that is in the way of the same one put right."""

import random
import shutil
from pathlib import Path

from foundation.locks import LOCK
from run_folder.layout import CONFIG

from .command_lines import COMMAND_LINES, CommandLine
from .programs import Program
from .runs import excerpt
from .tally import Tally

LIMIT = 60.0  # seconds


def words(tries: int, drawn: random.Random, folder: Path) -> list[Tally]:
    """As many command lines of the list."""
    tallies = {line.program: Tally("words", f"bad command lines of {line.program}.py") for line in COMMAND_LINES}
    for line in drawn.sample(COMMAND_LINES, min(tries, len(COMMAND_LINES))):
        work = folder / "work"
        work.mkdir()
        fault = answer(line, work)
        tallies[line.program].add(fault and f"{line}: {fault}")
        shutil.rmtree(work)
    return list(tallies.values())


def answer(line: CommandLine, work: Path) -> str | None:
    """What is wrong with the answer to a bad command line; None: it was one message, and blocks no folder."""
    program = Program(line.program, *line.arguments, folder=work)
    try:
        code = program.code(LIMIT)
    except TimeoutError as error:
        return str(error)
    said = program.output
    if "Traceback" in said:
        return f"a traceback: {excerpt(said)}"
    if code == 0:
        return f"taken: {excerpt(said)}"
    if said.count("error: ") != 1:
        return f"not one word: {excerpt(said)}"
    blocking = [path for path in work.rglob("*") if path.name in (CONFIG, LOCK) or path.suffix == ".ckpt"]
    return f"{', '.join(map(str, blocking))} is in the way" if blocking else None

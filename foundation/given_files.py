"""Files that anybody may have written: limits that hold before they are parsed, and for what is in them."""

from pathlib import Path
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISREG, S_ISSOCK
from typing import Any

DEEPEST = 32  # mappings and lists in one another
LARGEST_INTEGER = 2**63  # a longer one is a float no more
KINDS = {S_ISDIR: "a folder", S_ISFIFO: "a pipe", S_ISCHR: "a device", S_ISBLK: "a device", S_ISSOCK: "a socket"}


def read_text(path: Path, largest: int) -> str:
    """The text in a file of at most `largest` bytes.

    Raises ValueError, which names the file, where it is none, too large or no UTF-8; OSError if it can't be opened.
    """
    check_is_file(path)
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"{path.name} has more than {largest:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text: {error}") from error


def check_is_file(path: Path) -> None:
    """Raise ValueError for a pipe, which would be waited for, and whatever is no file; OSError if it is missing."""
    mode = path.stat().st_mode
    if not S_ISREG(mode):
        kind = next((words for is_kind, words in KINDS.items() if is_kind(mode)), "something else")
        raise ValueError(f"{path.name} is {kind}, no file")


def check_values(name: str, content: Any) -> None:
    """Raise ValueError if plain values lie too deep in one another, or hold a number that is too long for any use."""
    waiting = [(content, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > DEEPEST:
            raise ValueError(f"{name} has more than {DEEPEST} values in one another")
        if isinstance(node, int) and abs(node) > LARGEST_INTEGER:
            raise ValueError(f"{name} has a whole number of {node.bit_length()} bits")
        inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting += [(value, depth + 1) for value in inside]

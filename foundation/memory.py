"""How errors say that the memory is full: Python's, NumPy's, and those of PyTorch on every device."""

import re

FULL = ("can't allocate memory", "not enough memory", "out of memory", "status_alloc_failed")  # in torch's words
AMOUNT = re.compile(r"(?:tried|unable) to allocate ([\d.]+ \w+)", re.IGNORECASE)
ROOM = re.compile(r"GPU \d+ has a total capacity of [\d.]+ \w+ of which [\d.]+ \w+ is free")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not as much memory as was asked for."""
    if isinstance(error.__cause__, MemoryError | RuntimeError) and is_out_of_memory(error.__cause__):
        return True  # a library has wrapped it
    words = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in words for word in FULL))


def asked_for(error: BaseException) -> str:
    """`, where 20.00 GiB more were asked for`, with what a GPU has; nothing where the error does not say."""
    words = " ".join(str(error).split())
    amount, room = AMOUNT.search(words), ROOM.search(words)
    if amount is None:
        return ""
    number, unit = amount[1].split()
    said = f"{float(number) / 1e9:,.3g} GB" if unit == "bytes" else amount[1]
    return f", where {said} more were asked for" + (f" ({room[0]})" if room else "")

"""Output that ends no program: it passes over signs that its encoding lacks, and a reader that has gone (`| head`)."""

import io
import os
import sys
from errno import EIO, EPIPE
from typing import Any


class _Output(io.FileIO):
    """A file that takes everything and writes it nowhere once nobody reads it."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (EPIPE, EIO):  # the latter: the terminal is gone
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(memoryview(data).cast("B"))


def print_anywhere() -> None:
    """Have standard output and error say what their encoding can't as question marks, and no one in silence."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when the program began
            setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(_Output(os.devnull, "w")), errors="replace"))
        elif type(stream) is io.TextIOWrapper and type(getattr(stream.buffer, "raw", stream.buffer)) is io.FileIO:
            setattr(sys, name, _unbroken(stream))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _unbroken(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )

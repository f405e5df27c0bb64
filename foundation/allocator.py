"""The memory that a program frees: kept for what it allocates next, not given back to the system."""

import ctypes
import os
import platform

# The options of glibc's mallopt(3), as its <malloc.h> numbers them.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
OWN_SETTINGS = ("MALLOC_", "GLIBC_TUNABLES")  # how the environment of a process sets them


def keep_freed_memory() -> None:
    """Have freed memory kept, unless the environment sets glibc's allocator itself; elsewhere do nothing.

    By default glibc gives large blocks, and a large free end of its heap, back to the system. Each step of training
    frees its activations, and the next one got the same memory, page by page, zeroed by the system again
    (docs/speed.md). Threads but the main one have heaps of their own, of at most 64 MiB, which are given back still.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(OWN_SETTINGS) for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)  # large blocks come from the heap, where they can stay
    libc.mallopt(M_TRIM_THRESHOLD, -1)  # and its end is never cut off

import platform
import subprocess
import sys

import pytest
from conftest import PROJECT

FREE_AND_ALLOCATE_AGAIN = """
import resource
from foundation.allocator import keep_freed_memory

keep_freed_memory()
for attempt in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 100_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched_again(**environment: str) -> int:
    command = [sys.executable, "-c", FREE_AND_ALLOCATE_AGAIN]
    result = subprocess.run(command, env={"PYTHONPATH": str(PROJECT), **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator")
def test_freed_memory_is_there_for_the_next_block():
    assert pages_fetched_again() < 100
    assert pages_fetched_again(MALLOC_TOP_PAD_="0") > 20_000  # who sets the allocator is left alone


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch):
    from foundation import allocator

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a C library"))
    allocator.keep_freed_memory()

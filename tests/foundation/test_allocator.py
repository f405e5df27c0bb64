import os
import platform
import subprocess
import sys

import pytest
from conftest import PROJECT

from foundation import allocator
from foundation.allocator import OWN_SETTINGS

FREE_AND_ALLOCATE_AGAIN = """
import resource
from foundation.allocator import keep_freed_memory

keep_freed_memory()
for attempt in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 100_000_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched_again() -> int:
    command = [sys.executable, "-c", FREE_AND_ALLOCATE_AGAIN]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    result = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's allocator")
def test_freed_memory_is_there_for_the_next_block():
    assert pages_fetched_again() < 100


@pytest.mark.parametrize(("library", "setting"), [("", "ANYTHING"), ("glibc", "MALLOC_ARENA_MAX")])
def test_other_c_libraries_and_the_environments_own_settings_are_left_alone(
    library: str, setting: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(platform, "libc_ver", lambda: (library, "2.36"))
    monkeypatch.setenv(setting, "1")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a C library"))
    allocator.keep_freed_memory()

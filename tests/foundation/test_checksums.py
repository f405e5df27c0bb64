"""Checksums inside files: every flipped bit is noticed, and a file without one is taken as it is."""

import json
import random
import zlib
from pathlib import Path

import pytest

from foundation.checksums import BLOCK, PLACE, damage, seal


def text_of(name: str, padding: int) -> bytes:
    filled = "x" * padding
    at_end = {"json": f'{{"a": "{filled}", "checksum": "{PLACE}"}}\n', "yaml": f"a: {filled}\n# {PLACE}\n"}
    return at_end.get(name, f"a,{PLACE}\n{filled},\n").encode()


@pytest.mark.parametrize("name", ["json", "yaml", "csv"])
def test_every_flipped_bit_is_damage(name: str, tmp_path: Path):
    path = tmp_path / f"a.{name}"
    path.write_bytes(text_of(name, 4))
    seal(path)
    assert damage(path) is None
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert damage(path), (bit, bytes(flipped))


@pytest.mark.parametrize("name", ["json", "csv"])
def test_bits_of_files_of_many_blocks_count_too(name: str, tmp_path: Path):
    path = tmp_path / f"a.{name}"
    path.write_bytes(text_of(name, 2 * BLOCK + 5))
    seal(path)
    assert damage(path) is None
    drawn = random.Random(0)
    for _ in range(20):
        with open(path, "r+b") as file:
            position = drawn.randrange(2 * BLOCK)
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ 1 << drawn.randrange(8)]))
            file.flush()
            assert damage(path), position
            file.seek(position)
            file.write(bytes([byte]))
    assert damage(path) is None


def test_checksum_is_the_crc_of_all_other_bytes(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(text_of("json", 9))
    seal(path)
    digits = json.loads(path.read_text())["checksum"].removeprefix("crc32:")
    assert int(digits, 16) == zlib.crc32(path.read_bytes().replace(digits.encode(), b""))


def test_file_without_a_checksum_is_wrong_only_where_it_must_have_one(tmp_path: Path):
    (tmp_path / "a.json").write_text("{}")
    assert damage(tmp_path / "a.json") is None
    assert damage(tmp_path / "a.json", must_have=True) == "it has no checksum"
    (tmp_path / "empty.csv").write_text("")
    assert damage(tmp_path / "empty.csv") is None

"""The cache on disk: what is stored comes back, by its names and facts, from the first folder that has it."""

import os
from pathlib import Path

import pytest
import torch

from datamodules.disk_cache import checksum, load_cached, reserve, store_cached, user_cache


def test_tensors_are_found_in_whatever_order_their_names_were_given(tmp_path: Path):
    stored = {"val": torch.arange(3), "train": torch.arange(4.0), "a": torch.zeros(2, 2)}
    store_cached(stored, "some.safetensors", [tmp_path], {"size": "8"})
    found = load_cached("some.safetensors", [tmp_path], {"size": "8"})
    assert found is not None and found.keys() == stored.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in stored.items())


def test_checksum_is_of_names_and_bytes():
    one, other = torch.tensor([1, 2]), torch.tensor([1, 3])
    sums = [checksum({"a": one}), checksum({"a": other}), checksum({"b": one}), checksum({"a": one, "b": one})]
    assert len(set(sums)) == 4
    assert checksum({"a": one, "b": other}) == checksum({"b": other, "a": one})
    assert checksum({"a": torch.tensor([[1, 0], [2, 0]])[:, 0]}) == sums[0]  # however they lie


def test_users_cache_is_where_the_environment_says_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert user_cache() == Path("/some/where/vae-vs-gan")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for unset in (lambda: monkeypatch.setenv("XDG_CACHE_HOME", ""), lambda: monkeypatch.delenv("XDG_CACHE_HOME")):
        unset()
        assert user_cache() == Path("/home/me/.cache/vae-vs-gan")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve room")
def test_a_reserved_file_has_all_its_room_on_the_disk(tmp_path: Path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(1_000_000)
    assert path.stat().st_blocks * 512 < 1_000_000
    reserve(path)
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 1_000_000

"""The cache on disk: what is stored comes back, by its names and facts, from the first folder that has it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.disk_cache import checksum, load_bytes, load_cached, reserve, store_bytes, store_cached, user_caches


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


def test_users_cache_is_where_the_environment_says_or_in_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert user_caches() == [Path("/some/where/vae-vs-gan")]
    monkeypatch.setenv("HOME", "/home/me")
    for unset in (lambda: monkeypatch.setenv("XDG_CACHE_HOME", ""), lambda: monkeypatch.delenv("XDG_CACHE_HOME")):
        unset()
        assert user_caches() == [Path("/home/me/.cache/vae-vs-gan")]
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # of a user who has no home
    assert user_caches() == []
    store_cached({"a": torch.zeros(1)}, "name.safetensors", user_caches(), {})
    assert "there is no home folder; XDG_CACHE_HOME=<folder> gives one" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve room")
def test_a_reserved_file_has_all_its_room_on_the_disk(tmp_path: Path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(1_000_000)
    assert path.stat().st_blocks * 512 < 1_000_000
    reserve(path)
    assert path.stat().st_blocks * 512 >= path.stat().st_size == 1_000_000


def test_caches_of_other_images_are_told_when_one_more_is_made(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("8px-a.npy", "8px-b.npy", "16px-a.npy"):
        assert store_bytes(name, [tmp_path], (2, 1, 1000, 1000), lambda images: None)
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(".")[0] for line in out] == [
        f"{tmp_path} also holds {count} of other images or settings, 0" for count in (1, 2)
    ]
    assert out[1].startswith(f"{tmp_path} also holds 2 of other images or settings, 0.004 GB in all. ")


@pytest.mark.parametrize("mapped", [False, True])
def test_bytes_without_a_checksum_are_not_believed(mapped: bool, tmp_path: Path, capsys: pytest.CaptureFixture):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), dtype=np.uint8))  # as earlier versions wrote them
    assert load_bytes("a.npy", [tmp_path], (2, 3), mapped) is None
    assert f"{tmp_path / 'a.npy'} can't be read (it has no checksum)" in capsys.readouterr().out
    store_bytes("a.npy", [tmp_path], (2, 3), lambda images: images.fill_(7))
    assert load_bytes("a.npy", [tmp_path], (2, 3), mapped).tolist() == [[7, 7, 7]] * 2
    assert np.load(tmp_path / "a.npy").tolist() == [[7, 7, 7]] * 2  # as any program reads it

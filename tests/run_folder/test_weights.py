"""weights.safetensors: what is left out, what is rounded, and that all of it is there again."""

from pathlib import Path

import pytest
import torch

from run_folder.weights import read_weights, write_weights

STATE = {
    "generator.a": torch.tensor([1.0, 2.0]),
    "averages.generator.module.a": torch.tensor([1 / 3, 1e-3]),
    "discriminator.b": torch.tensor([-5.0]),
    "density.log_weights": torch.tensor([-torch.inf, 0.0]),
    "density.large": torch.tensor([1e6]),
    "density.fitted_at": torch.tensor(1_234_567),
}


def test_a_weight_that_an_average_follows_is_read_as_its_average(tmp_path: Path):
    write_weights(STATE, {"images_seen": 7}, tmp_path / "w.safetensors")
    weights, facts = read_weights(tmp_path / "w.safetensors")
    assert facts == {"images_seen": 7} and weights.keys() == STATE.keys()
    assert torch.equal(weights["generator.a"], weights["averages.generator.module.a"])
    torch.testing.assert_close(weights["generator.a"], STATE["averages.generator.module.a"], rtol=2**-11, atol=0)
    assert not torch.equal(weights["generator.a"], STATE["averages.generator.module.a"])  # rounded to half precision


def test_what_half_precision_can_not_hold_stays_as_it_is(tmp_path: Path):
    write_weights(STATE, {}, tmp_path / "w.safetensors")
    weights, _ = read_weights(tmp_path / "w.safetensors")
    for name in ("density.log_weights", "density.large", "density.fitted_at", "discriminator.b"):
        assert torch.equal(weights[name], STATE[name]) and weights[name].dtype == STATE[name].dtype, name


@pytest.mark.parametrize("damage", [b"", b"no weights", None])
def test_a_damaged_file_is_an_error_that_says_so(damage: bytes | None, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    write_weights(STATE, {}, path)
    path.write_bytes(path.read_bytes()[:-2] if damage is None else damage)
    with pytest.raises(ValueError, match=r"\w"):
        read_weights(path)

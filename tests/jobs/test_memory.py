"""A model or a number of images that the memory can't hold is refused by its size, before it takes any of it."""

import pytest
from conftest import TinyImages, composed

from foundation.errors import ConfigError
from jobs import memory
from jobs.building import build_model
from jobs.memory import COPIES, check_images_fit

SHAPE = (1, 8, 8)
SMALL = ["network=mlp", "network.encoder.depth=1", "network.decoder.depth=1", "model.latent_dim=2"]


def parameters(*overrides: str) -> int:
    return sum(p.numel() for p in build_model(composed(*SMALL, *overrides).model, TinyImages(SHAPE)).parameters())


def test_a_model_is_held_against_the_memory_with_what_its_training_keeps(monkeypatch: pytest.MonkeyPatch):
    plain = ["model=vanilla_vae", "model.ema_half_life=0"]
    needed = COPIES * 4 * parameters(*plain)  # float32
    monkeypatch.setattr(memory, "machine_memory", lambda: needed + 8 * 2)  # and the prior's two buffers
    assert parameters(*plain) * COPIES * 4 == needed
    monkeypatch.setattr(memory, "machine_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"model: with the bias of its Linear, \(64,\), it takes .* GB to train"):
        parameters(*plain)


@pytest.mark.parametrize(
    "overrides",
    [
        ["network.encoder.width=65536", "network.encoder.depth=1000"],
        ["model/prior=flow", "model.prior.width=65536", "model.prior.transforms=1000"],
        ["model/density=second_stage", "model.density.width=65536", "model.density.depth=100"],
        ["model=gan", "network.parameters=1e12"],
    ],
    ids=str,
)
def test_sizes_that_are_each_in_their_range_are_refused_where_together_they_are_too_much(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(memory, "machine_memory", lambda: 10**8)
    with pytest.raises(ConfigError, match=r"^model: .*Choose a smaller width"):
        parameters(*overrides)


def test_nothing_is_counted_once_a_model_is_built(monkeypatch: pytest.MonkeyPatch):
    needed = COPIES * 4 * parameters()
    monkeypatch.setattr(memory, "machine_memory", lambda: 2 * needed)
    for _ in range(4):
        parameters()


def test_images_that_are_written_are_held_against_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: 2 * 100 * 64)
    check_images_fit(100, SHAPE, "samples")
    with pytest.raises(ConfigError, match="samples: 101 images take"):
        check_images_fit(101, SHAPE, "samples")

"""conf/experiment/published/: what each file says of its source is there, and what it says of itself is so."""

import math
import re
from functools import cache
from typing import Any

import pytest
from conftest import PROJECT, TinyImages, composed
from torch import nn

from jobs.building import build_model

FOLDER = PROJECT / "conf" / "experiment" / "published"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
NUM_TRAIN = {"dcgan_celeba": 182_599, "wgan_gp_cifar10": 45_000, "sngan_cifar10": 45_000, "r3gan_cifar10": 45_000}


def config(name: str) -> Any:
    return composed(f"experiment=published/{name}")


@cache
def built(name: str) -> Any:
    """The model at its own size, for random images of its data's."""
    cfg = config(name)
    size = cfg.data.get("image_size")
    return build_model(cfg.model, TinyImages((3, size, size) if size else (1, 28, 28), num_learn=600))


def test_there_is_one_for_each_paper():
    papers = ["dcgan", "r3gan", "sigma_vae", "sngan", "two_stage_vae", "vamp_prior", "wgan_gp"]
    assert [name.rpartition("_")[0] for name in NAMES] == papers


@pytest.mark.parametrize("name", NAMES)
def test_each_says_its_source_its_number_and_what_is_otherwise(name: str):
    text = (FOLDER / f"{name}.yaml").read_text()
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    assert re.search(r"Source: .* \d{4} \(arXiv:\d{4}\.\d{5}\)", comment)
    assert re.search(r"Its number.*: .*\d", comment) and "Otherwise here: " in comment
    if config(name).choices.data == "folder":
        assert f"python train.py experiment=published/{name} data.root=" in comment


@pytest.mark.parametrize("name", NAMES)
def test_the_last_epoch_is_scored(name: str):
    cfg = config(name)
    assert cfg.trainer.max_epochs % cfg.every_n_epochs == 0


@pytest.mark.parametrize(
    ("name", "steps"), [("dcgan_celeba", 71_000), ("wgan_gp_cifar10", 200_000), ("sngan_cifar10", 50_000)]
)
def test_epochs_are_the_generator_steps_that_the_comment_says(name: str, steps: int):
    cfg = config(name)
    batches = cfg.trainer.max_epochs * math.ceil(NUM_TRAIN[name] / cfg.data.batch_size)
    assert batches / cfg.model.n_critic == pytest.approx(steps, rel=0.006)
    assert f"{steps:,}" in (FOLDER / f"{name}.yaml").read_text()


def test_lengths_in_images_are_those_of_the_sources():
    r3gan, vamp, two_stage = (config(name) for name in ("r3gan_cifar10", "vamp_prior_mnist", "two_stage_vae_mnist"))
    images_seen = r3gan.trainer.max_epochs * NUM_TRAIN["r3gan_cifar10"]
    assert images_seen == pytest.approx(20e6, rel=0.002)
    assert r3gan.model.ema_ramp_up * images_seen == pytest.approx(r3gan.model.ema_half_life, rel=0.002)
    assert vamp.model.rate.images == 100 * 55_000
    assert two_stage.model.density.num_steps * two_stage.model.density.batch_size == 800 * 55_000


@pytest.mark.parametrize("name", NAMES)
def test_each_builds_at_its_size_with_its_source_s_optimizer_and_no_average_but_r3gan_s(name: str):
    lr, betas = {
        "dcgan_celeba": (5e-4, (0.5, 0.999)), "wgan_gp_cifar10": (1e-4, (0.5, 0.9)),
        "sngan_cifar10": (2e-4, (0.0, 0.9)), "r3gan_cifar10": (2e-4, (0.0, 0.99)),
        "vamp_prior_mnist": (5e-4, (0.9, 0.999)), "sigma_vae_svhn": (1e-3, (0.9, 0.999)),
        "two_stage_vae_mnist": (1e-4, (0.9, 0.999)),
    }[name]  # fmt: skip
    made = built(name).configure_optimizers()
    for optimizer in made if isinstance(made, list) else [made]:
        assert (optimizer.defaults["lr"], tuple(optimizer.defaults["betas"])) == (lr, betas)
    assert built(name).weights_used == ("averaged (EMA)" if name == "r3gan_cifar10" else "raw")


@pytest.mark.parametrize("name", ["dcgan_celeba", "wgan_gp_cifar10", "two_stage_vae_mnist"])
def test_activations_are_leaky_in_the_network_of_images_and_not_in_that_of_latents(name: str):
    roles = built(name).networks
    reading, making = roles.get("discriminator", roles.get("encoder")), roles.get("generator", roles.get("decoder"))
    for network, kind, other in ((reading, nn.LeakyReLU, nn.ReLU), (making, nn.ReLU, nn.LeakyReLU)):
        assert any(isinstance(layer, kind) for layer in network.modules())
        assert not any(isinstance(layer, other) for layer in network.modules())

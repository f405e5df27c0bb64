"""The grid as a grid: every model, network and image shape composes, builds, learns a step and samples."""

from pathlib import Path

import pytest
import torch
from conftest import PROJECT, TinyImages, composed
from lightning import Trainer

from jobs.building import build_model
from jobs.config_check import check

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 128, 128)]
GENERATIVE = ["vae", "beta_vae", "gan", "wgan_gp"]
NETWORKS = ["mlp", "conv", "resnet"]  # resnet_bn is resnet with one norm more


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (PROJECT / "conf" / group).glob("[!_]*.yaml"))


def small(network: str) -> list[str]:
    width = 16 if network == "mlp" else 2
    return [f"network={network}", f"network.encoder.width={width}", f"network.decoder.width={width}"]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", GENERATIVE)
def test_cell_takes_a_step_and_samples_in_unit_range(name: str, network: str, shape: tuple[int, ...], tmp_path: Path):
    cfg = composed(f"model={name}", *small(network))
    model = build_model(cfg.model, datamodule := TinyImages(shape))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    if name == "wgan_gp":
        model.n_critic = 2  # of the two batches that there are
    trainer.fit(model, datamodule=datamodule)

    assert model.images_seen == len(datamodule.split("train").images)
    for role, network_ in model.networks.items():
        names = [key for key in before if key.startswith(f"{role}.")]
        assert any(not torch.equal(before[key], model.state_dict()[key]) for key in names), f"{role} did not learn"
        assert network_ is getattr(model, role)
    model.eval()
    images = model.decode(model.sample_latents(5))
    assert images.shape == (5, *shape)
    assert images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert images.std() > 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64)], ids=lambda shape: "x".join(map(str, shape)))
def test_classifier_gives_a_logit_for_each_class(network: str, shape: tuple[int, int, int]):
    model = build_model(composed("model=classifier", *small(network)).model, TinyImages(shape))
    logits = model.eval()(torch.rand(2, *shape))
    assert logits.shape == (2, 3)
    assert model.network.features(torch.rand(2, *shape)).shape == (2, model.network.num_features)


@pytest.mark.parametrize("data", choices("data"))
@pytest.mark.parametrize("network", choices("network"))
@pytest.mark.parametrize("model", choices("model"))
def test_every_choice_composes_and_passes_the_check(model: str, network: str, data: str):
    root = ["data.root=pictures"] if data == "folder" else []
    check(composed(f"model={model}", f"network={network}", f"data={data}", *root))


@pytest.mark.parametrize(
    "override",
    [f"{group}={choice}"
     for group in ("scores", "callbacks", "logger", "trainer", "model/likelihood", "model/prior", "network/activation",
                   "experiment/paper", "experiment/reference")
     for choice in choices(group) if (group, choice) != ("callbacks", "base")]
    + [f"model=gan model/{group}={choice}" for group in ("loss", "penalty") for choice in choices(f"model/{group}")]
    + [f"network/norm@network.encoder.norm={choice}" for choice in choices("network/norm")],
)  # fmt: skip
def test_every_other_yaml_composes_and_passes_the_check(override: str):
    overrides = override.replace("experiment/", "experiment=").replace("=", "=", 1).split(" ")
    if overrides[0].startswith("experiment="):
        overrides = [override.replace("experiment/paper=", "experiment=paper/").replace(
            "experiment/reference=", "experiment=reference/")]  # fmt: skip
    if override.endswith("imagenette_again"):
        overrides.append("model.initial_weights=first.safetensors")
    check(composed(*overrides))

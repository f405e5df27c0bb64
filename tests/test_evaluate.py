"""A finished run again: the same scores, and samples in the field's exchange format."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image

from callbacks.observing import observing
from callbacks.pictures import to_uint8
from evaluate import evaluate, restore
from train import build_model

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]


def again(run: Path, *overrides: str) -> None:
    cfg = composed(f"run={run}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None  # a run is rebuilt from its folder alone
    evaluate(cfg)


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_scores_and_pictures_are_those_of_the_run(model: str, train_in):
    run = train_in("run", f"model={model}", *MLP)
    again(run)
    trained = json.loads((run / "metrics.json").read_text())
    evaluated = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert evaluated["scores"] == trained["scores"]
    assert evaluated["test"] == trained["test"]
    assert evaluated["checkpoint"] == trained["checkpoint"] == "checkpoints/best.ckpt"
    for picture in (run / "pictures").glob("*_final.png"):
        assert (run / "evaluation" / "pictures" / picture.name).read_bytes() == picture.read_bytes()


def test_samples_go_to_npz_as_the_field_exchanges_them(train_in, tmp_path: Path):
    run = train_in("run", "model=gan", *MLP)
    again(run, "scores=none", "samples=700", f"out={tmp_path / 'samples.npz'}", "seed=3")
    with np.load(tmp_path / "samples.npz") as archive:
        assert archive.files == ["arr_0"]
        samples = archive["arr_0"]
    assert samples.shape == (700, 8, 8, 1) and samples.dtype == np.uint8
    cfg = OmegaConf.load(run / "config.yaml")
    datamodule = type("Facts", (), {"image_shape": (1, 8, 8), "num_classes": 10})
    model = build_model(cfg.model, datamodule)
    restore(model, run, None)
    with observing(model, seed=3):
        first = to_uint8(model.decode(model.sample_latents(500)))
    assert torch.equal(torch.from_numpy(samples[:500]).permute(0, 3, 1, 2), first)


def test_samples_go_to_a_folder_as_png(train_in, tmp_path: Path):
    run = train_in("run", *MLP)
    again(run, "scores=none", "samples=11", f"out={tmp_path}/images/")
    files = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in files] == [f"{index:06d}.png" for index in range(11)]
    assert np.asarray(Image.open(files[0])).shape == (8, 8)


def test_another_checkpoint_can_be_evaluated(train_in):
    run = train_in("run", *MLP)
    again(run, "checkpoint=last.ckpt")
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["checkpoint"] == "checkpoints/last.ckpt"


def test_averaged_weights_are_restored(train_in):
    run = train_in("run", "model=gan", *MLP)
    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    model = build_model(
        OmegaConf.load(run / "config.yaml").model, type("F", (), {"image_shape": (1, 8, 8), "num_classes": 10})
    )
    restore(model, run, None)
    for name, weight in model.averaged_generator.state_dict().items():
        assert torch.equal(weight, stored["state_dict"][f"averaged_generator.{name}"])
    assert model.images_seen == stored["images_seen"]


def test_classifier_runs_can_be_evaluated(train_in):
    run = train_in("run", "model=classifier", *MLP)
    again(run)
    evaluated = json.loads((run / "evaluation" / "metrics.json").read_text())
    trained = json.loads((run / "metrics.json").read_text())
    assert evaluated["test"]["test/accuracy"] == pytest.approx(trained["test"]["test/accuracy"], abs=0.01)

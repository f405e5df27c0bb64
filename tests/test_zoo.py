"""The trained runs in zoo/: each is what its experiment states, small, and its images can be read by a classifier."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from jobs.evaluation import evaluate
from run_folder.layout import CONFIG, DATA, METRICS, WEIGHTS
from scoring.extractors import ReferenceExtractor

ZOO = sorted(path.parent for path in (PROJECT / "zoo").glob(f"*/{CONFIG}"))
MOST_BYTES = 26e6  # of vae_imagenette, twice as wide as the others
LEAST_CONFIDENCE = {"digits": 0.9, "mnist": 0.9, "imagenette": 0.5}  # of the classifier in the fakes, on the average


def drawn(folder: Path, out: Path, *overrides: str) -> np.ndarray:
    cfg = composed(f"run={folder}", f"out={out}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)
    return np.load(out)["arr_0"]


def test_each_best_experiment_has_its_run():
    best = {path.stem for path in (PROJECT / "conf" / "experiment" / "best").glob("*.yaml")}
    assert {folder.name for folder in ZOO} == best


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_a_run_of_the_zoo_is_what_its_experiment_states(folder: Path):
    stated = OmegaConf.to_container(composed(f"experiment=best/{folder.name}"), resolve=True)
    kept = OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=True)
    for section in ("model", "network", "data", "every_n_epochs"):
        assert kept[section] == stated[section], section
    assert kept["trainer"]["max_epochs"] == stated["trainer"]["max_epochs"]
    record = json.loads((folder / METRICS).read_text())
    assert {f"experiment=best/{folder.name}", f"+experiment/best={folder.name}"} & set(record["command"].split())
    assert record["checkpoint"] == WEIGHTS and record["scores"]["test/fid_reference"]["protocol"]


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_a_run_of_the_zoo_is_small(folder: Path):
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < MOST_BYTES


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_a_run_of_the_zoo_makes_images_that_its_classifier_can_read(folder: Path, tmp_path: Path):
    images = drawn(folder, tmp_path / "samples.npz", "samples=64")
    seen = json.loads((folder / DATA).read_text())
    extractor = ReferenceExtractor(tuple(seen["image_shape"]), tuple(seen["class_names"]), None)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode():
        probabilities = extractor.classify(extractor(pixels))
    confidence = probabilities.max(dim=1).values.mean().item()
    assert confidence > LEAST_CONFIDENCE[folder.name.split("_")[1]]
    assert probabilities.argmax(dim=1).unique().numel() >= 8  # of ten classes, in 64 images

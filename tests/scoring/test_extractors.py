"""Extractors are the networks they say they are."""

import json
from pathlib import Path

import pytest
import torch
from conftest import DATA_ROOT, composed, needs_real
from hydra.utils import instantiate
from safetensors.torch import load_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from datamodules.imagenette import Imagenette
from datamodules.mnist import MNIST
from foundation.errors import ConfigError
from scoring.extractors import InceptionExtractor, ReferenceExtractor, WeightsError, sha256
from scoring.reference import REFERENCE_FOLDER, load_reference, save_reference

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_reference_extractor_is_chosen_by_channels_and_takes_any_size(shape: tuple[int, int, int]):
    extractor = ReferenceExtractor(shape)
    features = extractor(torch.randint(0, 256, (4, *shape), dtype=torch.uint8))
    assert features.shape == (4, extractor.num_features)
    assert features.std(dim=0).max() > 0
    assert extractor.protocol["extractor"] == ("reference/mnist" if shape[0] == 1 else "reference/imagenette")
    assert not extractor.train().training and not extractor.classifier.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_reference_extractor_sees_its_own_size_untouched():
    extractor = ReferenceExtractor((1, 28, 28))
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(extractor(images), extractor.classifier.features(images / 255))


@pytest.mark.parametrize(("shape", "data"), [((1, 28, 28), MNIST), ((3, 64, 64), Imagenette)])
def test_reference_extractor_tells_its_data_sets_classes_by_its_features(shape: tuple[int, int, int], data):
    extractor = ReferenceExtractor(shape)
    assert extractor.class_names == data.class_names
    images = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    expected = extractor.classifier(images / 255).softmax(dim=1)
    torch.testing.assert_close(extractor.classify(extractor(images)), expected)


def test_reference_of_other_channels_is_refused():
    with pytest.raises(ConfigError, match="no reference extractor for images of 2 channels"):
        ReferenceExtractor((2, 8, 8))


@pytest.mark.parametrize(("name", "accuracy"), [("mnist", 0.994), ("imagenette", 0.85)])
def test_shipped_weights_are_small_half_precision_and_state_their_training(name: str, accuracy: float):
    path = REFERENCE_FOLDER / f"{name}.safetensors"
    classifier, facts = load_reference(path)
    assert path.stat().st_size < {"mnist": 1_000_000, "imagenette": 3_000_000}[name]
    assert sum(p.numel() for p in classifier.parameters()) < 1_500_000
    assert facts["command"].startswith(f"python train.py experiment=reference/{name}")
    assert float(facts["test_accuracy"]) >= accuracy
    assert facts["seed"] == "0"
    for weight in classifier.state_dict().values():
        assert torch.equal(weight, weight.half().to(weight.dtype)) or not weight.is_floating_point()


def test_saved_reference_is_the_loaded_one_in_half_precision(tmp_path: Path):
    shipped, again = REFERENCE_FOLDER / "mnist.safetensors", tmp_path / "again.safetensors"
    classifier, facts = load_reference(shipped)
    save_reference(classifier, facts, again)
    assert load_reference(again)[1] == facts
    expected, found = load_file(shipped), load_file(again)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.slow
@needs_real("MNIST")
def test_shipped_mnist_weights_have_the_accuracy_they_state():
    datamodule = MNIST(root=str(DATA_ROOT), batch_size=500, seed=0, split_seed=0, device="auto")
    datamodule.setup()
    assert accuracy_of("mnist", datamodule) >= 0.994


@pytest.mark.slow
@needs_real("imagenette2-160")
def test_shipped_imagenette_weights_have_the_accuracy_they_state(tmp_path: Path):
    (tmp_path / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
    datamodule = Imagenette(root=str(tmp_path), image_size=64, batch_size=500, seed=0, split_seed=0, device="auto")
    datamodule.setup()
    assert accuracy_of("imagenette", datamodule) >= 0.85


def accuracy_of(name: str, datamodule) -> float:
    """On the test split, and within 0.0005 what the weight file states."""
    classifier, facts = load_reference(REFERENCE_FOLDER / f"{name}.safetensors")
    assert tuple(json.loads(facts["class_names"])) == datamodule.class_names
    images, labels = datamodule.split("test")
    with torch.no_grad():
        logits = torch.cat([classifier.eval()(batch / 255) for batch in images.split(500)])
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(float(facts["test_accuracy"]), abs=5e-4)
    return accuracy


# The Inception extractor, with a random network of the right form


def inception(path: Path, **options) -> InceptionExtractor:
    cfg = composed("scores=inception").scores.extractor
    defaults = {
        "weights": str(path),
        "sha256_prefix": sha256(path)[:8] if path.is_file() else cfg.sha256_prefix,
    }
    return instantiate(cfg, **(defaults | options))(image_shape=(1, 28, 28))


def test_inception_features_are_torch_fidelitys_own(inception_weights: Path):
    extractor = inception(inception_weights)
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    other = FeatureExtractorInceptionV3("same", ["2048"], feature_extractor_weights_path=str(inception_weights))
    assert torch.equal(extractor(images), other(images)[0].reshape(2, -1))
    assert extractor.protocol["sha256"] == sha256(inception_weights)


def test_inception_sees_grey_as_three_equal_channels(inception_weights: Path):
    extractor = inception(inception_weights)
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


def test_inception_of_another_file_is_refused_before_it_is_unpickled(inception_weights: Path):
    with pytest.raises(WeightsError, match=r"sha256 is \w{64}, expected to begin with 6726825d"):
        inception(inception_weights, sha256_prefix="6726825d")


def test_missing_inception_file_is_named(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"scores\.extractor\.weights: there is no file .*nowhere\.pth"):
        inception(tmp_path / "nowhere.pth")


def test_inception_that_cannot_be_fetched_says_where_to_put_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"can't be fetched \(no network\).*Put the file from http.* to .*6726825d\.pth"
    ):
        instantiate(composed("scores=inception").scores.extractor)(image_shape=SHAPE)


def test_inception_is_found_in_the_hub_folder(inception_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = composed("scores=inception").scores.extractor.url
    cached = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(inception_weights.read_bytes())
    extractor = inception(inception_weights, weights=None)
    assert extractor.protocol["sha256"] == sha256(cached)

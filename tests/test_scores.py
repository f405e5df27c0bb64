"""Scores: FID against two other implementations, and extractors that are the networks they say they are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import DATA_ROOT, TinyImages, composed, needs_real
from hydra.utils import instantiate
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from callbacks.extractors import (
    FeatureExtractor,
    InceptionExtractor,
    ReferenceExtractor,
    WeightsError,
    sha256,
)
from callbacks.reference import REFERENCE_FOLDER, load_reference
from callbacks.scores import FIDScore
from datamodules.mnist import MNIST
from train import build_model

SHAPE = (1, 8, 8)


class Pixels(FeatureExtractor):
    """Some pixels as features: a Gaussian's statistics can be put into them."""

    num_features = 5
    protocol = {"extractor": "pixels"}  # noqa: RUF012

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        self.calls += 1
        return images.flatten(1)[:, : self.num_features].float() / 255


def tiny(num_learn: int = 40, num_test: int = 40) -> TinyImages:
    datamodule = TinyImages(SHAPE, num_learn=num_learn)
    datamodule.num_test, datamodule.num_val = num_test, 20
    datamodule.setup()
    return datamodule


def score(extractor: Callable = Pixels, datamodule: TinyImages | None = None, **options) -> FIDScore:
    defaults = {"every_n_epochs": 1, "num_fakes": None, "repeats": 3, "batch_size": 16, "seed": 0}
    return FIDScore("pixels", extractor, datamodule or tiny(), **(defaults | options))


def gan():
    return build_model(composed("model=gan", "network=mlp").model, TinyImages(SHAPE))


def features_of_fakes(model, count: int, batch_size: int, seed: int) -> np.ndarray:
    """The features of the fakes that a score draws, by its documented recipe."""
    torch.manual_seed(seed)
    sizes = [min(batch_size, count - done) for done in range(0, count, batch_size)]
    with torch.no_grad():
        fakes = torch.cat([model.eval().decode(model.sample_latents(size)) for size in sizes])
    return (fakes * 255).round().double().numpy().reshape(count, -1)[:, :5] / 255


def frechet_by_scipy(real: np.ndarray, fake: np.ndarray) -> float:
    sigma_real, sigma_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = scipy.linalg.sqrtm(sigma_real @ sigma_fake).real
    return float(((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(sigma_real + sigma_fake - 2 * root))


@pytest.mark.parametrize("split", ["val", "test"])
def test_fid_agrees_with_scipy_and_with_torch_fidelity(split: str):
    datamodule, model = tiny(), gan()
    real = datamodule.split(split).images.numpy().reshape(-1, 64)[:, :5] / 255
    fake = features_of_fakes(model, len(real), 16, seed=3)
    value = score(datamodule=datamodule).distance(model, datamodule, split, seed=3)
    assert value == pytest.approx(frechet_by_scipy(real, fake), rel=1e-5)
    statistics = [fid_features_to_statistics(torch.from_numpy(features)) for features in (real, fake)]
    other = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert value == pytest.approx(other, rel=1e-5)


def test_fid_of_the_real_images_themselves_is_zero():
    datamodule, model = tiny(), gan()
    rows = iter(datamodule.split("test").images.split(16))
    model.decode = lambda z: next(rows) / 255
    assert score(datamodule=datamodule).distance(model, datamodule, "test", seed=0) == pytest.approx(0, abs=1e-6)


def test_fid_of_a_shift_is_its_square():
    datamodule, model = tiny(), gan()
    datamodule.split("test").images.clamp_(max=200)
    rows = iter(datamodule.split("test").images.split(16))
    model.decode = lambda z: (next(rows) + 51) / 255  # 0.2 in each of five features
    assert score(datamodule=datamodule).distance(model, datamodule, "test", seed=0) == pytest.approx(5 * 0.04, rel=1e-4)


def test_report_is_the_mean_and_deviation_over_draws_and_states_its_protocol():
    datamodule, model = tiny(), gan()
    callback = score(datamodule=datamodule, repeats=4, seed=5)
    result = callback.report(model, datamodule)
    draws = [callback.distance(model, datamodule, "test", seed) for seed in (5, 6, 7, 8)]
    assert len(set(draws)) == 4
    assert result["value"] == pytest.approx(np.mean(draws))
    assert result["std"] == pytest.approx(np.std(draws, ddof=1))
    assert result["protocol"] == {
        "extractor": "pixels", "split": "test", "num_real": 40, "num_fakes": 40, "repeats": 4,
        "pixels": "uint8, rounded", "weights": "averaged (EMA)", "seed": 5,
    }  # fmt: skip


def test_real_statistics_are_computed_once_a_run():
    datamodule, model = tiny(), gan()
    callback = score(datamodule=datamodule)
    batches = -(-40 // 16)
    for repeat in range(3):
        callback.distance(model, datamodule, "test", seed=repeat)
        assert callback.extractor.calls == batches * (2 + repeat)


def test_scoring_leaves_training_as_it_was():
    datamodule, model = tiny(), gan()
    model.train()
    state = torch.get_rng_state()
    score(datamodule=datamodule).distance(model, datamodule, "val", seed=0)
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_number_of_fakes_can_be_chosen():
    datamodule, model = tiny(), gan()
    drawn = []
    original = model.decode
    model.decode = lambda z: drawn.append(len(z)) or original(z)
    score(datamodule=datamodule, num_fakes=21).distance(model, datamodule, "test", seed=0)
    assert drawn == [16, 5]


def test_too_few_test_images_for_the_extractor_are_refused():
    with pytest.raises(ValueError, match="4 test images are too few for fid_pixels, whose extractor has 5 features"):
        score(datamodule=tiny(num_test=4))
    with pytest.raises(ValueError, match="4 test images are too few"):
        score(num_fakes=4)


# The reference extractor


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


def test_reference_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="no reference extractor for images of 2 channels"):
        ReferenceExtractor((2, 8, 8))


@pytest.mark.parametrize(("name", "accuracy"), [("mnist", 0.994), ("imagenette", 0.7)])
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


@needs_real("MNIST")
def test_shipped_mnist_weights_have_the_accuracy_they_state():
    datamodule = MNIST(root=str(DATA_ROOT), batch_size=500, seed=0, split_seed=0)
    datamodule.setup()
    classifier, facts = load_reference(REFERENCE_FOLDER / "mnist.safetensors")
    images, labels = datamodule.split("test")
    with torch.no_grad():
        logits = torch.cat([classifier.eval()(batch / 255) for batch in images.split(500)])
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(float(facts["test_accuracy"]), abs=3e-4)
    assert accuracy >= 0.994


# The Inception extractor, with a random network of the right form


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.torch.load", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="unused")
    torch.save(network.state_dict(), path)
    return path


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


def test_every_score_names_itself(train_in, inception_weights: Path, monkeypatch: pytest.MonkeyPatch):
    original = InceptionExtractor.__init__

    def narrowed(self, *args, **options):  # to two features, of which 300 test images are enough
        original(self, *args, **options)
        self.num_features = 2

    monkeypatch.setattr(InceptionExtractor, "__init__", narrowed)
    monkeypatch.setattr(InceptionExtractor, "forward", lambda self, images: images.flatten(1)[:, 20:22].float())
    overrides = [
        "scores=inception", f"scores.extractor.weights={inception_weights}",
        f"scores.extractor.sha256_prefix={sha256(inception_weights)[:8]}",
    ]  # fmt: skip
    run = train_in("inception", *overrides)
    record = json.loads((run / "metrics.json").read_text())
    assert set(record["scores"]) == {"test/fid_inception"}
    assert "val/fid_inception" in (run / "metrics.csv").read_text()
    assert record["checkpoint"] == "checkpoints/best.ckpt"

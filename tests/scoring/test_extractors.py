"""Extractors are the networks they say they are."""

import json
import typing
from pathlib import Path

import pytest
import torch
from conftest import DATA_ROOT, composed, needs_real
from hydra.utils import instantiate
from PIL import Image
from random_extractors import WRITERS, PlainDINOv2, extractor_of
from safetensors.torch import load_file
from small_data import PLAIN
from torch import Tensor, nn
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS, FeatureExtractorCLIP
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from datamodules.digits import Digits
from datamodules.imagenette import Imagenette
from datamodules.mnist import MNIST, FashionMNIST
from foundation.errors import ConfigError
from jobs.building import build_datamodule, build_scores
from jobs.config_check import check
from scoring.extractors import ReferenceExtractor
from scoring.features import batches_of, features_of
from scoring.fidelity import RealFeatures
from scoring.reference import REFERENCE_FOLDER, load_reference, save_reference
from scoring.weight_files import WeightsError, sha256

DIGITS, IMAGENETTE = tuple("0123456789"), Imagenette.class_names
OTHERS = ("cat", "dog")


def reference(
    image_shape: tuple[int, int, int], class_names: tuple[str, ...] = OTHERS, trained_on: str | None = None
) -> ReferenceExtractor:
    return ReferenceExtractor(image_shape, class_names, trained_on)


@pytest.mark.parametrize(
    ("shape", "class_names", "chosen"),
    [
        ((1, 8, 8), DIGITS, "digits"),
        ((1, 28, 28), DIGITS, "mnist"),
        ((1, 12, 12), DIGITS, "digits"),
        ((1, 64, 64), DIGITS, "mnist"),
        ((3, 32, 32), IMAGENETTE, "imagenette"),
        ((1, 28, 28), FashionMNIST.class_names, "mnist"),
        ((1, 8, 8), OTHERS, "mnist"),
        ((3, 8, 8), DIGITS, "imagenette"),
        ((3, 64, 64), OTHERS, "imagenette"),
    ],
)
def test_extractor_is_chosen_by_what_it_was_trained_on_and_takes_any_size(
    shape: tuple[int, int, int], class_names: tuple[str, ...], chosen: str
):
    extractor = reference(shape, class_names)
    features = extractor(torch.randint(0, 256, (4, *shape), dtype=torch.uint8))
    assert features.shape == (4, extractor.num_features)
    assert features.std(dim=0).max() > 0
    assert extractor.protocol["extractor"] == f"reference/{chosen}"
    assert not extractor.train().training and not extractor.classifier.training
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_another_extractor_can_be_chosen_of_those_that_there_are():
    assert reference((1, 8, 8), DIGITS, "mnist").protocol["extractor"] == "reference/mnist"
    with pytest.raises(ConfigError, match="trained_on=imagenette sees images of 3 channels, and these have 1"):
        reference((1, 8, 8), DIGITS, "imagenette")
    offered = typing.get_args(typing.get_type_hints(ReferenceExtractor.__init__)["trained_on"])[0]
    assert set(typing.get_args(offered)) == {path.stem for path in REFERENCE_FOLDER.glob("*.safetensors")}
    check(composed("scores.extractor.trained_on=mnist"))
    with pytest.raises(ConfigError, match=r"scores\.extractor\.trained_on: expected .*'mnist'.*, got 'cifar'"):
        check(composed("scores.extractor.trained_on=cifar"))


@pytest.mark.parametrize(
    ("data", "chosen"), [("digits", "digits"), ("mnist", "mnist"), ("kmnist", "mnist"), ("imagenette", "imagenette")]
)
def test_each_data_set_has_its_extractor(data: str, chosen: str):
    cfg = composed(f"data={data}")
    (scores,) = build_scores(cfg.scores, build_datamodule(cfg.data))
    assert scores.scorer.extractor.protocol["extractor"] == f"reference/{chosen}"


def test_reference_extractor_sees_its_own_size_untouched():
    extractor = reference((1, 28, 28))
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(extractor(images), extractor.classifier.features(images / 255))


@pytest.mark.parametrize(("shape", "data"), [((1, 28, 28), MNIST), ((3, 64, 64), Imagenette)])
def test_reference_extractor_tells_its_data_sets_classes_by_its_features(shape: tuple[int, int, int], data):
    extractor = reference(shape, data.class_names)
    assert extractor.class_names == data.class_names
    images = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    expected = extractor.classifier(images / 255).softmax(dim=1)
    torch.testing.assert_close(extractor.classify(extractor(images)), expected)


def test_reference_of_other_channels_is_refused():
    with pytest.raises(ConfigError, match="no reference extractor for images of 2 channels"):
        reference((2, 8, 8))


@pytest.mark.parametrize(("name", "accuracy"), [("digits", 0.98), ("mnist", 0.994), ("imagenette", 0.85)])
def test_shipped_weights_are_small_half_precision_and_state_their_training(name: str, accuracy: float):
    path = REFERENCE_FOLDER / f"{name}.safetensors"
    classifier, facts = load_reference(path)
    assert path.stat().st_size < {"digits": 100_000, "mnist": 1_000_000, "imagenette": 3_000_000}[name]
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


def test_shipped_digits_weights_have_the_accuracy_they_state():
    datamodule = Digits(batch_size=500, seed=0, split_seed=0, **PLAIN)
    datamodule.setup()
    assert accuracy_of("digits", datamodule) >= 0.98


@pytest.mark.slow
@needs_real("MNIST")
def test_shipped_mnist_weights_have_the_accuracy_they_state():
    datamodule = MNIST(root=str(DATA_ROOT), batch_size=500, seed=0, split_seed=0, **PLAIN)
    datamodule.setup()
    assert accuracy_of("mnist", datamodule) >= 0.994


@pytest.mark.slow
@needs_real("imagenette2-160")
def test_shipped_imagenette_weights_have_the_accuracy_they_state(tmp_path: Path):
    (tmp_path / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
    datamodule = Imagenette(root=str(tmp_path), image_size=64, batch_size=500, seed=0, split_seed=0, **PLAIN)
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


# Networks that others trained, with random weights of the right form


@pytest.fixture(scope="module", params=["inception", "clip", "dinov2"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def weights(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
    torch.manual_seed(0)
    WRITERS[name](path)
    return path


def by_torch_fidelity(name: str, weights: Path, images: Tensor) -> Tensor:
    """The features that torch-fidelity itself would make, had it the same weights."""
    network: nn.Module
    if name == "inception":
        network = FeatureExtractorInceptionV3("same", ["2048"], feature_extractor_weights_path=str(weights))
    elif name == "clip":
        network = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(weights))
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.hub, "load", lambda *_, **__: PlainDINOv2(weights))
            network = FeatureExtractorDinoV2("dinov2-vit-b-14", ["dinov2"])
    with torch.no_grad():
        return network(images)[0].reshape(len(images), -1)


def test_features_are_torch_fidelitys_own(name: str, weights: Path):
    extractor = extractor_of(name, weights)
    images = torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)
    expected = by_torch_fidelity(name, weights, images)
    assert expected.std(dim=0).mean() > 1e-3  # images can be told apart by them
    torch.testing.assert_close(extractor(images), expected, rtol=1e-4, atol=1e-5 * float(expected.std()))
    assert extractor.num_features == expected.shape[1]
    assert extractor.protocol["sha256"] == sha256(weights)
    assert extractor.protocol["num_features"] == extractor.num_features
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_grey_is_seen_as_three_equal_channels(name: str, weights: Path):
    extractor = extractor_of(name, weights)
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(extractor(grey), extractor(grey.repeat(1, 3, 1, 1)))


def test_another_file_is_refused_before_it_is_loaded(name: str, weights: Path):
    expected = composed(f"scores={name}").scores.extractor.sha256_prefix
    assert len(expected) == 64 or name == "inception"
    with pytest.raises(WeightsError, match=rf"its sha256 is \w{{64}}, expected to begin with {expected}"):
        extractor_of(name, weights, sha256_prefix=expected)


def test_a_file_of_another_form_is_named(name: str, tmp_path: Path):
    (tmp_path / "other.pth").write_bytes(b"no network")
    with pytest.raises(WeightsError, match=r"other\.pth is no network of .*'s form"):
        extractor_of(name, tmp_path / "other.pth")


def test_a_missing_file_is_named(name: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"scores\.extractor\.weights: there is no file .*nowhere\.pth"):
        extractor_of(name, tmp_path / "nowhere.pth")


FILE_NAMES = {  # as torch-fidelity calls them in torch's hub folder
    "inception": "weights-inception-2015-12-05-6726825d.pth",
    "clip": "clip-vit-b-32-40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af.pt",
    "dinov2": "dinov2_vitb14_pretrain.pth",
}


def test_what_cannot_be_fetched_says_where_to_put_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    failed = rf"scores={name} needs weights that can't be fetched \(no network\)\."
    with pytest.raises(WeightsError, match=rf"{failed} Put the file from http.* to .*{FILE_NAMES[name]}"):
        instantiate(composed(f"scores={name}").scores.extractor)()


def test_weights_are_found_in_the_hub_folder(name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / FILE_NAMES[name]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights.read_bytes())
    assert extractor_of(name, weights, weights=None).protocol["sha256"] == sha256(cached)


@pytest.mark.parametrize("model", ["clip-vit-b-32"])
def test_the_addresses_are_torch_fidelitys(model: str):
    extractor = composed("scores=clip").scores.extractor
    assert extractor.url == MODEL_URLS[model]
    assert extractor.sha256_prefix == MODEL_METADATA[model]["hash"]
    assert composed("scores=inception").scores.extractor.url == URL_INCEPTION_V3


@pytest.mark.slow
def test_fid_is_that_of_torch_fidelitys_command(name: str, weights: Path, tmp_path: Path):
    """The same folders and weights; narrowed to few images, for which a CPU has time."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    fake = (torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator) * 0.7).to(torch.uint8)
    for kind, images in (("real", real), ("fake", fake)):
        (tmp_path / kind).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / kind / f"{index:03d}.png")
    extractor = extractor_of(name, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "load", lambda *_, **__: PlainDINOv2(weights))
        theirs = calculate_metrics(
            input1=str(tmp_path / "fake"), input2=str(tmp_path / "real"), fid=True, cuda=False, verbose=False,
            cache=False, save_cpu_ram=True,  # or it forks four processes for twelve images
            feature_extractor=extractor.name,
            feature_extractor_weights_path=None if name == "dinov2" else str(weights),
        )["frechet_inception_distance"]  # fmt: skip
    features = [
        features_of(batches_of(images, 12), extractor, torch.device("cpu"), "features") for images in (real, fake)
    ]
    ours = RealFeatures(features[0]).frechet_distance(features[1])
    assert theirs > 1e-2
    assert ours == pytest.approx(theirs, rel=1e-4)

"""Reference classifiers as files: fp16 weights, and the facts of their training."""

import json
from math import log, prod
from pathlib import Path

from hydra.utils import instantiate
from safetensors import safe_open
from safetensors.torch import save_file

from foundation.checksums import CHECKSUM, PLACE, damage, seal
from foundation.errors import ConfigError
from lightning_modules.classifier import ClassifierNetwork
from run_folder.choices import check_named, choices_in

from .weight_files import WeightsError, sha256

REFERENCE_FOLDER = Path(__file__).parent / "reference_weights"
SUMS = "SHA256SUMS"  # of the files in that folder, as `sha256sum` writes and checks them
OTHERWISE = {1: "mnist.safetensors", 3: "imagenette.safetensors"}  # by channels, for data of other classes


def save_reference(network: ClassifierNetwork, facts: dict[str, str], path: Path) -> None:
    """Write a classifier's weights in half precision; `facts` name its encoder's config and its classes, in JSON."""
    weights = {
        name: tensor.half().cpu().contiguous() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in network.state_dict().items()
    }
    shape = {"image_shape": json.dumps(network.image_shape), "num_features": json.dumps(network.num_features)}
    save_file(weights, path, metadata=facts | shape | {CHECKSUM: PLACE})
    seal(path)


def load_reference(path: Path) -> tuple[ClassifierNetwork, dict[str, str]]:
    """A classifier in float32, and the facts in its file.

    Raises WeightsError if that is damaged, ConfigError if its encoder is none of conf/network.
    """
    check_undamaged(path)
    with safe_open(path, framework="pt") as file:
        facts = {name: fact for name, fact in file.metadata().items() if name != CHECKSUM}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    encoder = json.loads(facts["encoder"])
    check_named(encoder, path, choices_in(), place="network.encoder")
    network = ClassifierNetwork(
        image_shape=tuple(json.loads(facts["image_shape"])),
        num_classes=len(json.loads(facts["class_names"])),
        num_features=json.loads(facts["num_features"]),
        encoder=instantiate(encoder),
    )
    network.load_state_dict(weights)
    return network, facts


def check_undamaged(path: Path) -> None:
    """Raise WeightsError unless a file's bytes are those of its own checksum and, if it is listed, of SHA256SUMS."""
    fault = damage(path)
    listed = path.parent / SUMS
    lines = listed.read_text().splitlines() if listed.is_file() else []
    sums = {name: digest for digest, name in map(str.split, lines)}
    if sums.get(path.name, sha256(path)) != sha256(path):
        fault = f"its sha256 is {sha256(path)}, and {listed} says {sums[path.name]}"
    if fault:
        raise WeightsError(
            f"{path} is damaged: {fault}. Restore it, with git checkout or from where it was copied; if it is another "
            f"classifier on purpose, let {SUMS} say so"
        )


def reference_file(image_shape: tuple[int, ...], class_names: tuple[str, ...], trained_on: str | None) -> Path:
    """The weights of the classifier to compare such images by.

    That of `trained_on`; where that is None, of the classifiers of these very classes the one whose images are
    nearest in size. Data that no classifier was trained on has the one for its number of channels. Raises ConfigError
    where the channels are not those of the classifier.
    """
    shapes = {path: shape_and_classes(path) for path in sorted(REFERENCE_FOLDER.glob("*.safetensors"))}
    channels, height, width = image_shape
    of_these_classes = [path for path, (shape, names) in shapes.items() if (shape[0], names) == (channels, class_names)]
    if trained_on is not None:
        chosen = REFERENCE_FOLDER / f"{trained_on}.safetensors"
    elif of_these_classes:
        chosen = min(of_these_classes, key=lambda path: abs(log(prod(shapes[path][0][1:]) / (height * width))))
    elif channels in OTHERWISE:
        chosen = REFERENCE_FOLDER / OTHERWISE[channels]
    else:
        raise ConfigError(
            f"scores=reference: no reference extractor for images of {channels} channels, only for "
            f"{sorted(OTHERWISE)}; use scores=none"
        )
    if shapes[chosen][0][0] != channels:
        raise ConfigError(
            f"scores.extractor.trained_on={trained_on} sees images of {shapes[chosen][0][0]} channels, and these have "
            f"{channels}; leave it null, or choose another"
        )
    return chosen


def shape_and_classes(path: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The shape of the images and the names of the classes that a classifier was trained on."""
    check_undamaged(path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    return tuple(json.loads(facts["image_shape"])), tuple(json.loads(facts["class_names"]))

"""Reference classifiers as files: fp16 weights, and the facts of their training."""

import json
from pathlib import Path

from hydra.utils import instantiate
from safetensors import safe_open
from safetensors.torch import save_file

from foundation.errors import ConfigError
from lightning_modules.classifier import ClassifierNetwork

REFERENCE_FOLDER = Path(__file__).parent / "reference_weights"
FILE_BY_CHANNELS = {1: "mnist.safetensors", 3: "imagenette.safetensors"}


def save_reference(network: ClassifierNetwork, facts: dict[str, str], path: Path) -> None:
    """Write a classifier's weights in half precision; `facts` name its encoder's config and its classes, in JSON."""
    weights = {
        name: tensor.half().cpu().contiguous() if tensor.is_floating_point() else tensor.cpu()
        for name, tensor in network.state_dict().items()
    }
    shape = {"image_shape": json.dumps(network.image_shape), "num_features": json.dumps(network.num_features)}
    save_file(weights, path, metadata=facts | shape)


def load_reference(path: Path) -> tuple[ClassifierNetwork, dict[str, str]]:
    """A classifier in float32, and the facts in its file."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = ClassifierNetwork(
        image_shape=tuple(json.loads(facts["image_shape"])),
        num_classes=len(json.loads(facts["class_names"])),
        num_features=json.loads(facts["num_features"]),
        encoder=instantiate(json.loads(facts["encoder"])),
    )
    network.load_state_dict(weights)
    return network, facts


def reference_file(channels: int) -> Path:
    if channels not in FILE_BY_CHANNELS:
        raise ConfigError(
            f"scores=reference: no reference extractor for images of {channels} channels, only for "
            f"{sorted(FILE_BY_CHANNELS)}; use scores=none or scores=inception"
        )
    return REFERENCE_FOLDER / FILE_BY_CHANNELS[channels]

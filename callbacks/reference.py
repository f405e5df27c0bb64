"""Reference classifiers as files: fp16 weights with the facts of their training, written and read here."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_modules.classifier import Classifier, ClassifierNetwork

from .run_folder import write_atomically

REFERENCE_FOLDER = Path(__file__).parent / "reference_weights"
FILE_BY_CHANNELS = {1: "mnist.safetensors", 3: "imagenette.safetensors"}


class ExportReference(Callback):
    """After the test of a classifier writes `<run>/reference.safetensors`; the test sees the rounded weights.

    To make it the project's extractor, copy the file to callbacks/reference_weights/<data set>.safetensors.
    """

    def __init__(self, encoder: dict[str, Any], overrides: list[str], seed: int) -> None:
        """`encoder` is the composed config of the classifier's encoder, from which the file can be read back."""
        self.encoder, self.seed = encoder, seed
        told = [override for override in overrides if not override.startswith("data.root=")]
        self.command = " ".join(["python train.py", *told])

    @torch.no_grad()
    def on_test_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        for tensor in pl_module.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())

    def on_test_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        network = pl_module.network
        facts = {
            "encoder": json.dumps(self.encoder),
            "image_shape": json.dumps(network.image_shape),
            "num_classes": json.dumps(network.num_classes),
            "num_features": json.dumps(network.num_features),
            "command": self.command,
            "seed": str(self.seed),
            "test_accuracy": f"{float(trainer.callback_metrics['test/accuracy']):.4f}",
        }
        weights = {
            name: tensor.half().cpu().contiguous() if tensor.is_floating_point() else tensor.cpu()
            for name, tensor in network.state_dict().items()
        }
        path = Path(trainer.default_root_dir) / "reference.safetensors"
        write_atomically(path, lambda partial: save_file(weights, partial, metadata=facts))


def load_reference(path: Path) -> tuple[ClassifierNetwork, dict[str, str]]:
    """A classifier in float32, and the facts in its file."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = ClassifierNetwork(
        image_shape=tuple(json.loads(facts["image_shape"])),
        num_classes=json.loads(facts["num_classes"]),
        num_features=json.loads(facts["num_features"]),
        encoder=instantiate(json.loads(facts["encoder"])),
    )
    network.load_state_dict(weights)
    return network, facts


def reference_file(channels: int) -> Path:
    if channels not in FILE_BY_CHANNELS:
        raise ValueError(
            f"scores=reference: no reference extractor for images of {channels} channels, only for "
            f"{sorted(FILE_BY_CHANNELS)}; use scores=none or scores=inception"
        )
    return REFERENCE_FOLDER / FILE_BY_CHANNELS[channels]

"""Reference classifiers as files: fp16 weights with the facts of their training, written and read here."""

import json
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_modules.classifier import Classifier

from .run_folder import write_atomically

REFERENCE_FOLDER = Path(__file__).parent / "reference_weights"
FILE_BY_CHANNELS = {1: "mnist.safetensors", 3: "imagenette.safetensors"}


class ExportReference(Callback):
    """After the test of a classifier writes `<run>/reference.safetensors`; the test sees the rounded weights.

    To make it the project's extractor, copy the file to callbacks/reference_weights/<data set>.safetensors.
    """

    def __init__(self, model: dict[str, Any], overrides: list[str], seed: int) -> None:
        """`model` is the composed config of the classifier, from which the file can be read back."""
        self.model, self.seed = model, seed
        told = [override for override in overrides if not override.startswith("data.root=")]
        self.command = " ".join(["python train.py", *told])

    @torch.no_grad()
    def on_test_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        for tensor in pl_module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())

    def on_test_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        facts = {
            "model": json.dumps(self.model),
            "image_shape": json.dumps(pl_module.image_shape),
            "num_classes": json.dumps(pl_module.num_classes),
            "command": self.command,
            "seed": str(self.seed),
            "test_accuracy": f"{float(trainer.callback_metrics['test/accuracy']):.4f}",
        }
        weights = {
            name: tensor.half().cpu().contiguous() if tensor.is_floating_point() else tensor.cpu()
            for name, tensor in pl_module.state_dict().items()
        }
        path = Path(trainer.default_root_dir) / "reference.safetensors"
        write_atomically(path, lambda partial: save_file(weights, partial, metadata=facts))


def load_reference(path: Path) -> tuple[Classifier, dict[str, str]]:
    """A classifier in float32, and the facts in its file."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    classifier = instantiate(json.loads(facts["model"]))(
        image_shape=tuple(json.loads(facts["image_shape"])), num_classes=json.loads(facts["num_classes"])
    )
    classifier.load_state_dict(weights)
    return classifier, facts


def reference_file(channels: int) -> Path:
    if channels not in FILE_BY_CHANNELS:
        raise ValueError(
            f"scores=reference: no reference extractor for images of {channels} channels, only for "
            f"{sorted(FILE_BY_CHANNELS)}; use scores=none or scores=inception"
        )
    return REFERENCE_FOLDER / FILE_BY_CHANNELS[channels]

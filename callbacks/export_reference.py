"""A trained classifier as a file: what scores=reference can compare images by."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer

from foundation.atomic import write_atomically
from foundation.programs import program
from foundation.ranges import Seed
from lightning_modules.classifier import Classifier
from run_folder.settings import decides_weights, setting_of
from scoring.reference import save_reference

from .trainer_facts import datamodule_of


class ExportReference(Callback):
    """After the test of a classifier writes `<run>/reference.safetensors`; the test sees the rounded weights.

    To make it the project's extractor, copy the file to scoring/reference_weights/<data set>.safetensors.
    """

    def __init__(self, encoder: dict[str, Any], overrides: list[str], seed: Seed) -> None:
        """`encoder` is the composed config of the classifier's encoder, from which the file can be read back."""
        self.encoder, self.seed = encoder, seed
        self.command = " ".join([*program("train"), *map(_without_folder, filter(_decides_weights, overrides))])

    @torch.no_grad()
    def on_test_start(self, trainer: Trainer, pl_module: Classifier) -> None:
        for tensor in pl_module.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half())

    def on_test_end(self, trainer: Trainer, pl_module: Classifier) -> None:
        network = pl_module.network
        facts = {
            "encoder": json.dumps(self.encoder),
            "class_names": json.dumps(datamodule_of(trainer).class_names),
            "command": self.command,
            "seed": str(self.seed),
            "test_accuracy": f"{float(trainer.callback_metrics['test/accuracy']):.4f}",
        }
        path = Path(trainer.default_root_dir) / "reference.safetensors"
        write_atomically(path, lambda partial: save_reference(network, facts, partial))


def _decides_weights(override: str) -> bool:
    """Whether a command line's override says how the classifier is trained, rather than where its data lies."""
    return decides_weights(setting_of(override))


def _without_folder(override: str) -> str:
    """Of a path to weights the file's name alone: the rest is this machine's."""
    return re.sub(r"=.*/(?=.*\.safetensors)", "=", override)

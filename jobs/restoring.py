"""A finished run's model from its folder alone: no data is needed."""

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, open_dict
from torch import Tensor

from callbacks.divergence import not_finite
from foundation.errors import ConfigError
from lightning_modules.image_model import ImageModel
from run_folder.checkpoints import CheckpointError, read_checkpoint
from run_folder.layout import CHECKPOINTS, tested_checkpoint
from run_folder.settings import as_dict

from .building import build_model_for, facts_of
from .config_check import check_section
from .resuming import check_weights_fit, shapes_of
from .run_data import read_data


def restored_model(
    config: DictConfig, run_dir: Path, checkpoint: str | None = None, asked: Mapping[str, Any] | None = None
) -> tuple[ImageModel, Path]:
    """The model of a run with its trained weights, on the CPU, and the file that these are from.

    `checkpoint` is a file's name in the run's folder of checkpoints; None: the one that the run was tested with.
    `asked` takes the place of the model's own arguments; another density is not fitted yet. Raises UserError.
    """
    path = run_dir / CHECKPOINTS / checkpoint if checkpoint else tested_checkpoint(run_dir)
    read = read_checkpoint(path)  # it says which version wrote the run, before anything is built
    asked = asked or {}
    model = build_model_for(stored_facts(config, run_dir), changed(config, asked, run_dir).model)
    restore(model, with_own_density(read, model) if "density" in asked else read, path)
    return model, path


def changed(config: DictConfig, asked: Mapping[str, Any], run_dir: Path) -> DictConfig:
    """A run's config with other arguments of its model. Raises ConfigError where that has no such thing."""
    if "density" in asked:
        check_density(config, asked["density"], run_dir)
    config = config.copy()
    with open_dict(config):
        for name, value in asked.items():
            config.model[name] = value
    if asked:
        check_section("model.", as_dict(config.model))
    return config


def restore(model: ImageModel, checkpoint: dict[str, Any], path: Path) -> None:
    """Load the weights of the checkpoint in a file.

    Raises CheckpointError, naming it, if they are of another model, or no finite numbers.
    """
    check_weights_fit(shapes_of(checkpoint["state_dict"]), model, path)
    model.load_state_dict(checkpoint["state_dict"])
    if name := not_finite(model):
        raise CheckpointError(f"{path} is of a training that diverged: {name} is not finite, so it makes no images")
    model.on_load_checkpoint(checkpoint)


def check_density(config: DictConfig, density: DictConfig, run_dir: Path) -> None:
    """Raise ConfigError if a run's model can't draw its latents from another density."""
    own = config.model.get("density")
    if own is None:
        raise ConfigError(f"model/density: the model of {run_dir} draws its latents from no density; leave it away")
    if asked_by(own) != asked_by(density):
        raise ConfigError(f"model/density: {density._target_} is not over such latents as those of {run_dir}")


def asked_by(density: DictConfig) -> set[str]:
    """What a density's constructor asks of the model, such as latent_dim: what its config does not say."""
    return set(signature(get_class(density._target_)).parameters) - {str(key) for key in density}


def with_own_density(checkpoint: dict[str, Any], model: ImageModel) -> dict[str, Any]:
    """A checkpoint's weights with the model's own density, which is not fitted yet: it is before anything is scored."""
    trained = {name: weight for name, weight in checkpoint["state_dict"].items() if not name.startswith("density.")}
    own = {name: weight for name, weight in model.state_dict().items() if name.startswith("density.")}
    return checkpoint | {"state_dict": trained | own}


def stored_facts(config: DictConfig, run_dir: Path) -> dict[str, Any]:
    """The facts about its data that a run has kept; of a run that kept none, those of its data set."""
    record = read_data(run_dir)
    if record is None or record.image_shape is None or record.class_names is None:
        return facts_of(instantiate(config.data))
    return {
        "image_shape": record.image_shape,
        "num_classes": len(record.class_names),
        "class_names": record.class_names,
        "training_images": blank_images(record.image_shape),
    }


def blank_images(image_shape: tuple[int, int, int]) -> Callable[[int], tuple[Tensor, Tensor]]:
    """In the place of training images, of which a model's parts are built and whose values its weights then replace."""
    return lambda count: (torch.zeros(count, *image_shape), torch.zeros(count, dtype=torch.long))

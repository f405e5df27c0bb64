"""The settings of a run by dotted name, and which of them decide the weights that it trains and is tested with."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# Every setting decides, unless it or a section that it lies in stands here.
DECIDES_NOTHING = (
    # Where things lie, and what they are called.
    "run_dir", "ckpt_path", "sweep", "hydra", "choices", "trainer.default_root_dir",
    "data.root", "scores.extractor.weights", "scores.extractor.url",  # the weights' sha256_prefix does decide
    # How the settings were found.
    "recipe",
    # What is written down and drawn.
    "callbacks", "logger", "trainer.logger", "trainer.log_every_n_steps", "trainer.profiler",
    "trainer.enable_checkpointing", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.enable_autolog_hparams",
    # How the same numbers are computed, but for the last digits. Precisions decide, and so does the number of
    # processes: a step's batch grows with it.
    "compile", "trainer.accelerator", "data.device", "data.memory_share",
    # How the finished model is looked at. Val is scored with one draw and no training images.
    "scores.repeats", "scores.batch_size", "scores.num_train", "trainer.num_sanity_val_steps",
    "run", "background", "folder", "checkpoint", "accelerator", "samples", "out",
    # Copies of other settings, and what only others refer to.
    "trainer.check_val_every_n_epoch", "scores.every_n_epochs", "report",
)  # fmt: skip
# Parts of those sections that decide all the same: by these the tested checkpoint is chosen, or a run's end.
DECIDES = ("callbacks.best_checkpoint.monitor", "callbacks.best_checkpoint.mode", "callbacks.early_stopping")


def decides_weights(key: str) -> bool:
    """Whether runs that differ in this setting, a dotted name, train or are tested with other weights."""
    sections = {setting.rpartition(".")[0] for setting in DECIDES}  # null in the place of one changes what is in it
    return key in sections or _is_in(key, DECIDES) or not _is_in(key, DECIDES_NOTHING)


def setting_of(override: str) -> str:
    """The dotted name of what an override sets: `model.lr` of `+model.lr=1`, `network.norm` of `network/norm=batch`."""
    name = override.partition("=")[0].lstrip("+~")
    return name.rpartition("@")[2].replace("/", ".")  # a group@package sets what lies at the package


def as_dict(config: DictConfig | ListConfig) -> dict[str, Any]:
    """A config as plain values, every reference in it resolved. Raises OmegaConf's error if a value is missing."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config by dotted name; an object's class under the object's name, `_partial_` and such nowhere."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if name == "_target_":
            settings[prefix.rstrip(".")] = str(value).rsplit(".", 1)[-1]
        elif isinstance(value, Mapping):
            settings |= flattened(value, f"{prefix}{name}.")
        elif not str(name).startswith("_"):
            settings[f"{prefix}{name}"] = value
    return settings


def _is_in(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)

"""Composing a config outside of Hydra's main function: for messages, tests and benchmarks."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from .sweeps import register_folder_name

PROJECT = Path(__file__).parents[1]


def load(overrides: Sequence[str], config: str = "config") -> DictConfig:
    """What a program's config and these overrides compose to, Hydra's own section included. Raises Hydra's errors."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return compose(config, list(overrides), return_hydra_config=True)


def composed(*overrides: str, run_dir: Path | None = None, config: str = "config") -> DictConfig:
    """The config that `train.py <overrides>` would be given."""
    register_folder_name()
    cfg = load(overrides, config)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run_dir or "unused")
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        if "choices" in cfg:
            OmegaConf.resolve(cfg.choices)
        return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])

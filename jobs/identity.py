"""What a run is called by, in its records."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def identity_of(cfg: DictConfig) -> dict[str, Any]:
    """The choices of a config's groups, by name, and its seed."""
    choices = OmegaConf.select(cfg, "choices") or {}
    return {**choices, "seed": OmegaConf.select(cfg, "seed", throw_on_resolution_failure=False)}

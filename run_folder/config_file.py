"""config.yaml: the composed config of a run, whose last line, a comment, is its checksum."""

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from foundation.atomic import write_atomically
from foundation.checksums import PLACE, damage, seal
from foundation.errors import ConfigError


def write_config(path: Path, config: DictConfig | ListConfig) -> None:
    """Raises OSError."""

    def write(partial: Path) -> None:
        partial.write_bytes(f"{OmegaConf.to_yaml(config)}# {PLACE}\n".encode())
        seal(partial)

    write_atomically(path, write)


def check_config(path: Path) -> None:
    """Raise ConfigError if a config's file is not as it was written; OSError where it can't be opened."""
    if fault := damage(path):
        raise ConfigError(
            f"{path} is damaged: {fault}. Restore it; if you changed it yourself, remove its last line, the checksum"
        )

"""config.yaml in a run folder, whose last line, a comment, is its checksum.

It is read as plain values, whoever wrote it: nothing in it is resolved, imported or built.
"""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from foundation.atomic import write_atomically
from foundation.checksums import PLACE, damage, seal
from foundation.given_files import DEEPEST, check_is_file, check_values, read_text

LARGEST = 2**18  # bytes; those of this project have some 10,000
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the second is slower by far, and always there


def write_config(path: Path, config: DictConfig | ListConfig) -> None:
    """Raises OSError."""
    _write_sealed(path, OmegaConf.to_yaml(config).encode())


def seal_config(path: Path) -> None:
    """Add its checksum to a yaml that another program has written. Raises OSError."""
    _write_sealed(path, path.read_bytes())


def _write_sealed(path: Path, content: bytes) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(content + f"# {PLACE}\n".encode())
        seal(partial)

    write_atomically(path, write)


def read_plain(path: Path) -> dict[str, Any]:
    """The mapping in a yaml file, {} for an empty one.

    Raises ValueError, which names the file, for anything else in it, and for what yaml has to make much of little or
    objects of texts: references (&, *), tags (!) and depth. OSError if it can't be opened.
    """
    check_is_file(path)
    if fault := damage(path):
        raise ValueError(
            f"{path.name} is damaged: {fault}. Restore it; if you changed it remove its checksum, the last line"
        )
    text = read_text(path, LARGEST)
    try:
        check_events(text)
        content = OmegaConf.to_container(OmegaConf.create(text)) if text.strip() else {}
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{path.name} is no yaml{line}: {error.problem}") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} can't be read: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{path.name} is no mapping by name")
    check_values(path.name, content)
    return {str(key): value for key, value in content.items()}


def check_events(text: str) -> None:
    """Raise ValueError for what a config that was written by OmegaConf has not, before values are made of it."""
    depth = 0
    for event in yaml.parse(text, Loader=Loader):
        line = f"line {event.start_mark.line + 1}" if event.start_mark else "it"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"{line} has a reference (& or *)")
        if (tag := getattr(event, "tag", None)) is not None:
            raise ValueError(f"{line} has the tag {tag}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"{line} has more than {DEEPEST} values in one another")

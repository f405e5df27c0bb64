"""The yaml files of conf/: keys with their values and comments, and what each is built of."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from run_folder.choices import CONF, TARGET, joined, package_of

NOT_GROUPS = ("experiment", "hydra")  # whole settings, and what --help prints
OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")


@dataclass(frozen=True)
class Entry:
    """One key of a file."""

    place: str  # in the composed config: model.loss.weight
    value: Any
    text: str  # the value as the file has it; "" for a mapping
    comment: str


@dataclass(frozen=True)
class ConfigFile:
    """One yaml file: a choice of a group, or one of the three that programs begin with."""

    path: Path
    group: str  # model/loss; "" at the top of conf/

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def is_choice(self) -> bool:
        return not self.name.startswith("_")

    @property
    def package(self) -> str:
        """The place that the file fills, without what a list of defaults says of it."""
        return package_of(self.path, self.group)

    @property
    def head(self) -> str:
        """The comment that the file begins with."""
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            if "@package" not in line:
                lines.append(line.removeprefix("#").strip())
        return " ".join(lines)

    @property
    def content(self) -> dict[str, Any]:
        return yaml.safe_load(self.path.read_text(encoding="utf-8")) or {}

    @property
    def defaults(self) -> list[Any]:
        return self.content.get("defaults", [])

    def base(self) -> "ConfigFile | None":
        """The file of the same group that this one is a variant of."""
        names = [entry for entry in self.defaults if isinstance(entry, str) and entry != "_self_"]
        return ConfigFile(self.path.with_name(f"{names[0]}.yaml"), self.group) if names else None

    def entries(self, package: str) -> list[Entry]:
        """The file's own keys, of which it fills this package; sections before what they hold."""
        text = self.path.read_text(encoding="utf-8")
        return list(_entries(yaml.compose(text), package, text.splitlines()))

    def sections(self, package: str) -> dict[str, str]:
        """The class that is built in each place, those of the file's base and of its default parts among them."""
        base = self.base()
        found = base.sections(package) if base else {}
        for entry in self.defaults:
            for option, name in entry.items() if isinstance(entry, dict) else ():
                chosen, _, place = option.removeprefix("override ").partition("@")
                path = CONF / self.group / chosen / f"{name}.yaml"
                if path.is_file() and not chosen.startswith("/"):
                    part = ConfigFile(path, f"{self.group}/{chosen}")
                    found |= part.sections(joined(package, place or chosen.replace("/", ".")))
        content = {name: value for name, value in self.content.items() if name != "defaults"}
        return found | dict(_targets(content, package))


def _entries(node: yaml.Node | None, place: str, lines: list[str]) -> Iterator[Entry]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        at = joined(place, key.value)
        if key.value in OF_HYDRA or (not place and key.value in ("defaults", "hydra")) or key.value == "defaults":
            continue
        is_section = isinstance(value, yaml.MappingNode) and value.value
        end = key.end_mark if is_section else value.end_mark
        found = re.search(r"\s# ?(.*)$", lines[end.line][end.column :]) if end.line < len(lines) else None
        comment = found[1].strip() if found else ""
        text = "" if is_section else lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
        yield Entry(at, yaml.safe_load(yaml.serialize(value)), text, comment)
        if is_section:
            yield from _entries(value, at, lines)


def _targets(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        if TARGET in node:
            yield place, node[TARGET]
        for key, value in node.items():
            yield from _targets(value, joined(place, str(key)))


@cache
def files() -> tuple[ConfigFile, ...]:
    """Those of all groups that hold values, in order."""
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.relative_to(CONF).parent.as_posix()
        if group != "." and group.split("/")[0] not in NOT_GROUPS:
            found.append(ConfigFile(path, group))
    return tuple(found)


def program_file(name: str) -> ConfigFile:
    """What a program's config begins with: config (train.py), evaluate, export, explore."""
    return ConfigFile(CONF / f"{name}.yaml", "")


@cache
def groups() -> dict[str, tuple[ConfigFile, ...]]:
    """The files of every group, by its name."""
    names = dict.fromkeys(file.group for file in files())
    return {name: tuple(file for file in files() if file.group == name) for name in names}


@cache
def places_of(group: str) -> tuple[str, ...]:
    """Where in the composed config a group's choice stands: its own name, unless lists of defaults put it elsewhere."""
    found: dict[str, None] = {}
    for file in (*files(), program_file("config")):
        for entry in file.defaults:
            for option in entry if isinstance(entry, dict) else ():
                name, at, place = option.rpartition(" ")[2].partition("@")
                chosen = name.lstrip("/") if name.startswith("/") else joined(file.group.replace("/", "."), name)
                if chosen.replace(".", "/") != group:
                    continue
                here = joined(file.package, place) if not place.startswith("_global_") else place
                found[here.removeprefix("_global_.") if at else group.replace("/", ".")] = None
    return tuple(found) or (group.replace("/", "."),)


def chosen_by(group: str, place: str) -> str:
    """What is typed to choose, without the choice: `model/loss=`, or with the place where that is another."""
    return f"{group}=" if place == group.replace("/", ".") else f"{group}@{place}="

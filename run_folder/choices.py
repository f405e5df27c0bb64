"""What this project's own conf/ names, and in which places: all that a file somebody else wrote may have built."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from foundation.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
TARGET = "_target_"
HOW = ("_partial_", "_convert_", "_recursive_")  # how Hydra builds a target
HYDRAS = re.compile(r"_\w+_")  # a key that is for Hydra, those that it does not have yet included
PACKAGE = re.compile(r"# *@package +(\S+)")
REFERENCE = re.compile(r"\$\{([\w.]+)\}")
LONGEST = 80  # characters of a value in a message
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
How = dict[str, Any]


class Choices:
    """The targets in folders of config groups, by the place in a composed config: `model.likelihood`."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self.named: dict[str, dict[str, How]] = {}
        self.copies: dict[str, set[str]] = {}  # places that are filled by a reference to others
        self.seen: set[tuple[Path, str]] = set()
        for folder in folders:
            for path in sorted(folder.rglob("*.yaml")):
                group = "/".join(path.relative_to(folder).parent.parts)
                self.add_file(path, group, package_of(path, group))

    def at(self, place: str) -> dict[str, How]:
        """The targets that may stand in a place, with how Hydra builds each."""
        found = dict(self.named.get(place, {}))
        for above, below in splits(place):
            for copied in self.copies.get(above, ()):
                found |= self.at(joined(copied, below))
        return found

    def add_file(self, path: Path, group: str, package: str) -> None:
        """Add what a file of a group names, where it fills this package, and the groups in its list of defaults."""
        if (path, package) in self.seen:
            return
        self.seen.add((path, package))
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader) or {}
        for entry in content.pop("defaults", []):
            for option in entry if isinstance(entry, dict) else ():
                name, at, _ = option.rpartition(" ")[2].partition("@")  # without `override`
                # A group that nothing moves fills its own package, which it is added with.
                if at or (package != package_of(path, group) and not name.startswith("/")):
                    self.add_default(option.rpartition(" ")[2], group, package)
        content.pop("hydra", None)  # a run's config has no such section
        self.add_node(content, package)

    def add_default(self, option: str, group: str, package: str) -> None:
        name, at, place = option.partition("@")
        filled = place if at else name.replace("/", ".")
        is_global = filled == "_global_" or filled.startswith("_global_.")
        filled = filled.removeprefix("_global_").lstrip(".") if is_global else joined(package, filled)
        chosen = name.lstrip("/") if name.startswith("/") else f"{group}/{name}".strip("/")
        for folder in self.folders:
            for path in sorted((folder / chosen).glob("*.yaml")):
                self.add_file(path, chosen, filled)

    def add_node(self, node: Any, place: str) -> None:
        if isinstance(node, str) and (reference := REFERENCE.fullmatch(node)):
            self.copies.setdefault(place, set()).add(reference[1])
        if isinstance(node, dict) and TARGET in node:
            how = {key: node[key] for key in HOW if key in node}
            self.named.setdefault(place, {})[node[TARGET]] = how
        for key, value in inside(node):
            self.add_node(value, joined(place, key))


@cache
def choices_in(*folders: Path) -> Choices:
    """Of these folders besides the project's own."""
    return Choices((CONF, *(folder for folder in folders if folder.resolve() != CONF)))


def check_named(config: Any, source: Path, choices: Choices, place: str = "", kin: Sequence[str] = ()) -> None:
    """Raise ConfigError unless every target in a config is a choice in its place, built as conf/ has it built.

    Nothing is imported. `kin`: classes that may stand wherever conf/ has one of the same module.
    """
    for at, node in sections(config, place):
        own = {key: value for key, value in node.items() if HYDRAS.fullmatch(str(key))}
        if not own:
            continue
        target, allowed = own.pop(TARGET, None), choices.at(at)
        modules = {name.rpartition(".")[0]: how for name, how in allowed.items()}
        allowed = {name: modules[module] for name in kin if (module := name.rpartition(".")[0]) in modules} | allowed
        if not isinstance(target, str) or target not in allowed:
            raise ConfigError(
                f"{source}: {joined(at, TARGET)} is {shortened(target)}, expected "
                f"{one_of(allowed) or 'nothing that is built'}. Of a run folder only what conf/ names in this place is "
                "built. Is it of another version of this project, use that one; is it a class of your own, give it a "
                "yaml in conf/"
            )
        for key in own.keys() | allowed[target].keys():
            expected = allowed[target].get(key)
            if key not in HOW or type(own.get(key)) is not type(expected) or own.get(key) != expected:
                raise ConfigError(
                    f"{source}: {joined(at, key)} is {shortened(own.get(key))}, expected "
                    f"{'no such key' if expected is None else repr(expected)}, as conf/ has {target} built"
                )


def check_unresolved(config: Any, source: Path) -> None:
    """Raise ConfigError for a text that would be resolved, to a setting, a variable of the environment or a file's."""
    for at, node in [("", config), *containers(config)]:
        for key, value in inside(node):
            if "${" in key or (isinstance(value, str) and "${" in value):
                raise ConfigError(
                    f"{source}: {joined(at, shortened(key)[1:-1])} is {shortened(value)}, expected a value: what a run "
                    "keeps is resolved, without ${"
                )


def sections(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping in a config, with its place."""
    for at, one in [(place, node), *containers(node, place)]:
        if isinstance(one, Mapping):
            yield at, one


def containers(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every mapping and list inside a node, with its place."""
    for key, value in inside(node):
        if isinstance(value, Mapping | list):
            at = joined(place, key)
            yield at, value
            yield from containers(value, at)


def inside(node: Any) -> list[tuple[str, Any]]:
    """What a mapping or a list holds, by name or number."""
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    return [(str(key), value) for key, value in pairs]


def package_of(path: Path, group: str) -> str:
    """The place that a file fills: what its first line says, else that of its group."""
    header = PACKAGE.match(path.read_text(encoding="utf-8"))
    package = header[1] if header else "_group_"
    return {"_global_": "", "_group_": group.replace("/", ".")}.get(package, package)


def splits(place: str) -> Iterator[tuple[str, str]]:
    """`a` and `b.c`, `a.b` and `c`, `a.b.c` and nothing."""
    names = place.split(".")
    for length in range(1, len(names) + 1):
        yield ".".join(names[:length]), ".".join(names[length:])


def joined(*names: str) -> str:
    return ".".join(filter(None, names))


def shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def one_of(names: Mapping[str, Any]) -> str:
    return " or ".join(sorted(names))

"""What to type instead of an override that Hydra can't apply, whose own advice is to add whatever was misspelt."""

import inspect
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from foundation.programs import this_program
from run_folder.choices import CONF, package_of

from .override_check import choices_of

MOST = 8  # names in one message
Load = Callable[[list[str]], DictConfig]  # composes a config, Hydra's own section included, of overrides


class Refused(NamedTuple):
    """An override that can't be applied to what the others compose to."""

    override: str
    error: Exception


def applicable(overrides: Sequence[str], load: Load) -> tuple[DictConfig, list[str], list[Refused]]:
    """The config of those overrides that can be applied, these, and the others; each by itself, choices first.

    Raises Hydra's error if nothing can be composed at all.
    """
    config, taken, refused = load([]), list[str](), list[Refused]()
    for override in sorted(overrides, key=lambda override: "." in override.partition("=")[0]):
        try:
            config = load([*taken, override])
            taken.append(override)
        except (HydraException, OmegaConfBaseException) as error:
            refused.append(Refused(override, error))
    return config, taken, refused


def what_is_wrong(overrides: Sequence[str], load: Load) -> str | None:
    """What is wrong with the first override that can't be applied, and what to type instead; None: it isn't known."""
    try:
        config, taken, refused = applicable(overrides, load)
        return explained(refused[0], config, taken, load) if refused else None
    except (HydraException, OmegaConfBaseException):
        return None


def explained(refused: Refused, config: DictConfig, taken: Sequence[str], load: Load) -> str | None:
    """The same of one override; None where Hydra's own words say more."""
    try:
        parsed = OverridesParser.create().parse_override(refused.override)
    except OverrideParseException:
        return None
    key, choices = parsed.key_or_group, config.hydra.runtime.choices
    missing = missing_choice(refused.error)
    if missing is not None and (CONF / key).is_dir():
        value, options = parsed.value(), missing.options or choices_of(key)  # Hydra names none where several are given
        given = [str(choice) for choice in (value if isinstance(value, list) else [value])]
        return unknown_choice(key, next((choice for choice in given if choice not in options), given[0]), options)
    if "/" in key:
        return unknown_group(key, choices, taken, load)
    known = set(names_in(config, key.partition(".")[0] == "hydra"))
    if key in known or parsed.is_add() or parsed.is_force_add():
        return None
    return unknown_key(key, refused.override, config, known, taken, load)


def missing_choice(error: BaseException | None) -> MissingConfigException | None:
    """The error of a choice that there is not, if that is what an error comes from."""
    while error is not None and not isinstance(error, MissingConfigException):
        error = error.__cause__
    return error


def unknown_choice(group: str, choice: str, options: Sequence[str]) -> str:
    """A choice that a group does not have: those of its name elsewhere, or the nearest ones, and all that it has."""
    typed = dict(ways_to_choose())
    inside = {name.removeprefix(f"{group}/"): way for name, way in typed.items() if way.startswith(f"{group}=")}
    named = [way for name, way in typed.items() if name.rpartition("/")[2] == choice]
    named.sort(key=lambda way: not way.startswith(f"{group}="))
    near = named or [inside[name] for name in closest(choice, inside)]
    folders = [f"{path.name}/…" for path in sorted((CONF / group).iterdir()) if path.is_dir() and is_global(path)]
    known = ", ".join([*(option for option in options if not option.startswith("_")), *folders])
    return f"{group}={choice}: there is no such choice; {did_you_mean(near)}{group} has: {known}"


def ways_to_choose() -> Iterator[tuple[str, str]]:
    """Every choice in conf/ by its path, such as experiment/paper/vae_mnist, with what is typed for it.

    But for the settings that a search has tried, and the steps of an ablation, which their sweeps choose.
    """
    for path in sorted(CONF.glob("*/**/*.yaml")):
        is_tried = path.relative_to(CONF).parts[0] == "experiment" and len(path.relative_to(CONF).parts) > 3
        if not path.stem.startswith("_") and not is_tried:
            group = path.parent
            while group.parent != CONF and is_global(group):
                group = group.parent
            name = path.with_suffix("")
            yield str(name.relative_to(CONF)), f"{group.relative_to(CONF)}={name.relative_to(group)}"


def is_global(folder: Path) -> bool:
    """Whether what is in a folder are choices of the group above it, such as experiments, and no group of their own."""
    return any(package_of(path, "its own") == "" for path in folder.glob("*.yaml"))


def unknown_group(group: str, choices: DictConfig, taken: Sequence[str], load: Load) -> str:
    """A group in which nothing is to be chosen here: the choices with which there is, or the nearest groups."""
    if placed := [str(name) for name in choices if str(name).startswith(f"{group}@")]:
        return f"{group}: where this choice is for has to be given; {did_you_mean(placed)}".rstrip()
    above = next((name for name in parents(group) if name in choices), None)
    if above is not None and (CONF / group).is_dir():
        having = choices_with(above, lambda config: group in config.hydra.runtime.choices, taken, load)
        return has_none(group, above, choices[above], having)
    groups = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir())
    near = closest(group, groups)
    return f"{group}: there is no such group; {did_you_mean(near)}{'' if near else cfg_job()}".rstrip(" ;")


def unknown_key(
    key: str, override: str, config: DictConfig, known: Collection[str], taken: Sequence[str], load: Load
) -> str:
    """A setting that there is not: the choices that have it, how it is added where it can be, or the nearest ones."""
    choices = {str(group): choice for group, choice in config.hydra.runtime.choices.items()}
    if "logger" in config:  # of which there can be several, that Hydra keeps no note of
        choices.setdefault("logger", f"[{','.join(name for name in config.logger if name != 'csv')}]")
    groups = sorted(choices, key=len, reverse=True)
    for group in groups:
        if key.startswith(f"{group.replace('/', '.')}.") and is_written_in(group, key.rpartition(".")[2]):
            having = choices_with(group, lambda config: key in set(names_in(config)), taken, load)
            if having:
                return has_none(key, group, choices[group], having)
    if is_taken(key, config):
        return f"{key} is not set here, though it can be: +{override.lstrip('+')} sets it"
    if near := nearest(key, known):
        return f"{key}: there is no such setting; {did_you_mean(near)}".rstrip()
    section = next((name for name in parents(key.replace(".", "/"), ".") if name in known), "")
    own = [name for name in children(section, known) if not name.startswith("_")]
    return f"{key}: there is no such setting; " + (f"{section} has: {', '.join(own)}" if section and own else cfg_job())


def nearest(key: str, known: Collection[str]) -> list[str]:
    """The settings that one of this name could be meant for: of the same last word, or spelt much like it."""
    last = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == last]
    if same:
        return get_close_matches(key, same, n=3, cutoff=0.0)
    if close := closest(key, known, at_least=0.8):
        return close
    section = key.rpartition(".")[0]
    of_section = [f"{section}.{name}" for name in closest(last, children(section, known))] if section else []
    words = closest(last, {name.rpartition(".")[2] for name in known})[:1]
    return of_section or [name for name in known if name.rpartition(".")[2] in words]


def closest(word: str, words: Collection[str], at_least: float = 0.6) -> list[str]:
    """Those of some words that are spelt much like one, and of these no others than are about as near as the first."""
    near = get_close_matches(word, words, n=3, cutoff=at_least)
    return get_close_matches(word, near, n=3, cutoff=likeness(word, near[0]) - 0.1) if near else []


def likeness(word: str, other: str) -> float:
    return SequenceMatcher(a=other, b=word).ratio()  # in the order in which get_close_matches compares


def names_in(config: DictConfig, of_hydra: bool = False) -> Iterator[str]:
    """The dotted names of all sections and values of a config, Hydra's own among them only if asked for."""
    plain = OmegaConf.to_container(config, resolve=False)
    waiting = [("", plain)]
    while waiting:
        prefix, node = waiting.pop()
        for key, value in node.items() if isinstance(node, dict) else ():
            if prefix or (key == "hydra") == of_hydra:
                name = f"{prefix}{key!s}"
                yield name
                waiting.append((f"{name}.", value))


def children(section: str, known: Collection[str]) -> list[str]:
    """The names that lie directly in a section; in "", at the top."""
    return sorted(name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == section)


def parents(group: str, separator: str = "/") -> Iterator[str]:
    """What lies above `a/b/c`: `a/b`, then `a`."""
    names = group.split("/")
    return (separator.join(names[:length]) for length in range(len(names) - 1, 0, -1))


def choices_with(group: str, fits: Callable[[DictConfig], bool], taken: Sequence[str], load: Load) -> list[str]:
    """Which choices of a group make a config that fits."""
    others = [given for given in taken if "." not in (name := given.partition("=")[0]) and name.lstrip("+") != group]
    having = []
    for path in sorted((CONF / group).glob("[!_]*.yaml")):
        try:
            if fits(load([*others, f"{group}={path.stem}"])):
                having.append(path.stem)
        except (HydraException, OmegaConfBaseException):  # not with the others
            continue
    return having


def is_written_in(group: str, word: str) -> bool:
    """Whether a word is in any file of a group: composing every choice takes seconds."""
    return any(f"{word}:" in path.read_text(encoding="utf-8") for path in (CONF / group).rglob("*.yaml"))


def is_taken(key: str, config: DictConfig) -> bool:
    """Whether the class of a setting's section has an argument of its name, which conf/ leaves at its default."""
    section, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(config, section) if section else None
    if not isinstance(node, DictConfig) or not isinstance(target := node.get("_target_"), str):
        return False
    try:
        return name in inspect.signature(get_object(target)).parameters
    except (ImportError, TypeError, ValueError):
        return False


def has_none(name: str, group: str, choice: Any, having: Sequence[str]) -> str:
    kind = "choice" if "/" in name else "setting"
    told = f"{name}: {group}={'null' if choice is None else choice} has no such {kind}"
    listed = ", ".join(having[:MOST]) + (", …" if len(having) > MOST else "")
    return f"{told}; leave it away, or give one of these {group}=, which have it: {listed}" if having else told


def did_you_mean(names: Sequence[str]) -> str:
    return f"did you mean {' or '.join(names[:3])}? " if names else ""


def cfg_job() -> str:
    return f"{shlex.join(this_program())} --cfg job prints all that there are"

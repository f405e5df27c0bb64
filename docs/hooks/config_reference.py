"""The page of every config key: meaning, default and range, from conf/, its comments and the constructors.

A key's meaning is the comment beside it, else the comment of the same argument
of the same class elsewhere, else what the constructor's docstring says of it, else what common_keys.yaml says.
"""

import inspect
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from allowed_values import OBJECT, described
from config_files import ConfigFile, Entry, chosen_by, files, groups, places_of, program_file
from hydra.utils import get_object

from jobs.config_check import types_of
from jobs.config_types import (
    TRAINER,
    DataOfRun,
    Evaluation,
    Exploration,
    Export,
    Network,
    Preparation,
    Recipe,
    Sweep,
    Training,
)
from lightning_modules.gan import GAN
from run_folder.choices import CONF

# Keys that no constructor has, with their types, by the place of their section.
STATED: dict[str, dict[str, Any]] = {
    "": typing.get_type_hints(Training, include_extras=True),
    "recipe": typing.get_type_hints(Recipe, include_extras=True),
    "sweep": typing.get_type_hints(Sweep, include_extras=True),
    "network": typing.get_type_hints(Network, include_extras=True),
}
EVALUATION: dict[str, dict[str, Any]] = {
    "": typing.get_type_hints(Evaluation, include_extras=True),
    "data": typing.get_type_hints(DataOfRun, include_extras=True),
    "model": types_of(GAN),
}
EXPORT: dict[str, dict[str, Any]] = {"": typing.get_type_hints(Export, include_extras=True)}
EXPLORATION: dict[str, dict[str, Any]] = {
    "": typing.get_type_hints(Exploration, include_extras=True),
    "data": typing.get_type_hints(DataOfRun, include_extras=True),
}
PREPARATION: dict[str, dict[str, Any]] = {"": typing.get_type_hints(Preparation, include_extras=True)}
EXPERIMENTS = CONF / "experiment"
MAIN = ("model", "network", "data", "scores", "trainer", "callbacks", "logger", "debug")  # the order of the page
OPENING = """# Every key of the config

This page is made from `conf/` and from the constructors whenever the site is built.

* **A group** takes another choice: `model=gan`, `model/loss=hinge`. A choice is a file of `conf/<group>/`.
* **A key** takes another value: `model.latent_dim=16`, `trainer.max_epochs=20`. A list is quoted for the shell:
  `'network.encoder.width=[512,256]'`. A value that is out of its range is refused before anything is built.
* `python train.py --cfg job` prints the composed config, with everything else on the command line taken into account.
* A `${name}` in the column of defaults is the value of another key; `???` has no default and has to be given, or is set
  by another choice.
* **A section with a `_target_`** is an object that is built. It is exchanged by the choice of its group, or by naming
  another class under `_target_` (with `_partial_: true` where the section has that).
"""


@dataclass(frozen=True)
class Row:
    """One key, as the table has it."""

    keys: tuple[str, ...]  # as typed; several where a choice stands in several places
    default: str
    allowed: str
    meaning: str


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([OPENING, *of_train(), *of_programs(), *of_experiments()]).rstrip() + "\n"


def of_train() -> Iterator[str]:
    yield "## Of a run as a whole\n"
    yield table(rows_of(program_file("config"), ("",), STATED))
    yield "Hydra's own keys are `hydra.run.dir=` (the run folder), `hydra.sweep.dir=` (that of a sweep), `hydra.mode=`"
    yield "(`RUN` or `MULTIRUN`) and `hydra/launcher=` ([jobs beside each other](../scale.md)).\n"
    for main in MAIN:
        for group, members in ordered(main):
            yield from of_group(group, members)


def ordered(main: str) -> list[tuple[str, tuple[ConfigFile, ...]]]:
    """The groups of a part of the config, the part itself first; choices before their variants."""
    names = sorted(name for name in groups() if name.split("/")[0] == main)
    return [
        (name, tuple(sorted(groups()[name], key=lambda file: file.is_choice and is_variant(file)))) for name in names
    ]


def is_variant(file: ConfigFile) -> bool:
    base = file.base()
    return base is not None and base.is_choice


def of_group(group: str, members: tuple[ConfigFile, ...]) -> Iterator[str]:
    places = places_of(group)
    typed = " and ".join(f"`{chosen_by(group, place)}`" for place in places)
    yield f"## {group} {{ #{anchor(group)} }}\n"
    yield f"Chosen by {typed}{default_choice(group)}\n"
    for file in members:
        where = ("",) if not file.package else places
        yield f"### {group}: {file.name if file.is_choice else 'what all of them share'}\n"
        yield f"{summary(file, where[0])}\n"
        if rows := rows_of(file, where, STATED):
            yield table(rows)
    if group == "trainer":
        yield from of_lightning()


def of_lightning() -> Iterator[str]:
    known = {entry.place.rpartition(".")[2] for file in groups()["trainer"] for entry in file.entries("trainer")}
    rows = [
        Row((f"+trainer.{name}",), "Lightning's", described(annotation), "")
        for name, annotation in TRAINER.items()
        if name not in known
    ]
    yield "### trainer: what else Lightning's takes\n"
    yield "Any argument of `lightning.Trainer` can be added with a `+` before it. These are checked:\n"
    yield table(rows)


def of_programs() -> Iterator[str]:
    programs = (
        ("evaluate", EVALUATION), ("export", EXPORT), ("explore", EXPLORATION), ("prepare", PREPARATION),
    )  # fmt: skip
    for name, stated in programs:
        yield f"## Of {name}.py {{ #{name} }}\n"
        yield f"{program_file(name).head}\n"
        yield table(rows_of(program_file(name), ("",), stated))


def of_experiments() -> Iterator[str]:
    yield "## experiment\n"
    yield "Whole settings, chosen by `experiment=`; every key can still be overridden. What was tried in `search/` and"
    yield "`ablation/`, and what came of it, is on [the page about searches](../search.md).\n"
    yield "| experiment | what it is |\n|---|---|"
    for name in sorted(
        path.relative_to(EXPERIMENTS).with_suffix("").as_posix() for path in EXPERIMENTS.rglob("*.yaml")
    ):
        path = EXPERIMENTS / f"{name}.yaml"
        settings = len(list(path.with_suffix("").glob("*.yaml")))
        if path.parent.with_suffix(".yaml").is_file() and name.split("/")[0] != "paper":
            continue  # a setting that the experiment of its folder's name sweeps over
        tried = f" Sweeps over {settings} settings, each a file." if settings and name != "paper" else ""
        source = f"../../conf/experiment/{name}.yaml"
        yield f"| [`{name}`]({source}) | {cell(first_words(ConfigFile(path, 'experiment').head))}{tried} |"
    yield ""


def first_words(text: str) -> str:
    """The beginning of a comment, as far as its first sentences go; the command that it prints is left to the file."""
    text = re.sub(r"(^|:)? ?python train\.py experiment=\S+( data\.root=<[^>]*(>[^>]*>)?[^>]*>)?", ".", text)
    text = re.sub(r":? python train\.py -m experiment=[^\s;]+;?", ".", text)
    text = (
        re.sub(r"\. A file in the folder beside this is one\b", "", text)
        .replace("?.", "?")
        .replace("..", ".")
        .strip(". ")
    )
    sentences = re.split(r"(?<=\w{3}\.)\s+|(?<=\))\.\s+", text)
    return sentence(sentences[0])


def rows_of(file: ConfigFile, places: tuple[str, ...], stated: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The rows of a file's own keys; of its sections too, where they are built."""
    rows = []
    for row in zip(*(file.entries(place) for place in places), strict=True):
        entry = row[0]
        is_section = not entry.text
        target = targets_around(file, places[0]).get(entry.place)
        if is_section and (target is None or entry.place == file.group.replace("/", ".")):  # the latter has a summary
            continue
        if entry.value == {}:
            continue
        rows.append(
            Row(
                tuple(one.place for one in row),
                f"`{target.rpartition('.')[2]}`" if is_section and target else f"`{entry.text}`",
                turned_off(entry) if is_section else allowed(entry, file, places[0], stated),
                meaning_of_section(entry, target) if is_section and target else meaning(entry, file, places[0]),
            )
        )
    return rows


def turned_off(entry: Entry) -> str:
    section, _, name = entry.place.partition(".")
    can_be = section in ("callbacks", "logger") and "." not in name and name != "last_checkpoint"
    return f"{OBJECT}{'; null turns it off' if can_be else ''}"


def allowed(entry: Entry, file: ConfigFile, place: str, stated: Mapping[str, Mapping[str, Any]]) -> str:
    annotation = annotation_of(entry, file, place, stated)
    if annotation is None:
        return "set by Hydra" if entry.place.startswith("choices.") else f"{OBJECT} or null"
    words = described(annotation)
    if words == OBJECT and (group := entry.place.replace(".", "/")) in groups():
        return f"a choice of `{group}`"
    return words


def annotation_of(entry: Entry, file: ConfigFile, place: str, stated: Mapping[str, Mapping[str, Any]]) -> Any:
    """The type by which a key is checked; None where nothing states it."""
    section, _, key = entry.place.rpartition(".")
    target = targets_around(file, place).get(section)
    if target is not None:
        return types_of(get_object(target)).get(key)
    return stated.get(section, {}).get(key)


@cache
def targets_around(file: ConfigFile, place: str) -> dict[str, str]:
    """The class of every section that a file may change: its own, and those of the trainer and the callbacks."""
    if not file.group:
        return {}
    found = {"data": "datamodules.image_datamodule.ImageDataModule"}  # of what all data sets share
    for group in ("trainer", "callbacks", "logger"):
        for one in groups()[group]:
            found |= one.sections(group)
    return found | file.sections(place)


def meaning(entry: Entry, file: ConfigFile, place: str) -> str:
    if entry.comment:
        return sentence(entry.comment)
    if entry.place.startswith("choices."):
        return "What was chosen, for records and reports."
    section, _, key = entry.place.rpartition(".")
    target = targets_around(file, place).get(section)
    found = (comments().get((target, key)) or documented(target, key)) if target else ""
    return sentence(found or common(entry.place))


def meaning_of_section(entry: Entry, target: str) -> str:
    words = [docstring(target), sentence(entry.comment)]
    return " ".join(word for word in words if word)


@cache
def comments() -> dict[tuple[str, str], str]:
    """The first comment that conf/ has of each argument of each class."""
    found: dict[tuple[str, str], str] = {}
    for file in files():
        place = "" if not file.package else places_of(file.group)[0]
        for entry in file.entries(place):
            section, _, key = entry.place.rpartition(".")
            target = targets_around(file, place).get(section)
            if entry.comment and entry.text and target:
                found.setdefault((target, key), entry.comment)
    return found


def common(place: str) -> str:
    """What a key means wherever it stands, by the longest end of its name that common_keys.yaml has."""
    names = place.split(".")
    return next((found for start in range(len(names)) if (found := known_keys().get(".".join(names[start:])))), "")


@cache
def known_keys() -> dict[str, str]:
    return yaml.safe_load((Path(__file__).parent / "common_keys.yaml").read_text(encoding="utf-8"))


def documented(target: str, key: str) -> str:
    """What a class's or its constructor's docstring says of an argument."""
    found = get_object(target)
    texts = [inspect.getdoc(found), inspect.getdoc(found.__init__) if inspect.isclass(found) else None]
    for text in filter(None, texts):
        if match := re.search(rf"`{key}`: (.+?)(?=\n\n|\.\s+`|\Z)", text, flags=re.DOTALL):
            return " ".join(match[1].split())
    return ""


def docstring(target: str) -> str:
    """The first paragraph of a class of this project; the name of another one."""
    found = get_object(target)
    if not (CONF.parent / target.split(".")[0]).is_dir():
        return f"`{target}`."
    return " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())


def summary(file: ConfigFile, place: str) -> str:
    """What a choice is: its class's docstring, what it is a variant of, and the comment that the file begins with."""
    target = file.sections(place).get(place or file.group)
    base = file.base()
    words = [f"`{target}`." if target else "", docstring(target) if target else ""]
    if target and words[0] == words[1]:
        words.pop()
    if base is not None:
        words.append(f"As `{base.name}`, with what follows." if base.is_choice else "")
    if file.head:
        words.append(file.head)
    return escaped(" ".join(word for word in words if word))


def default_choice(group: str) -> str:
    """The end of the sentence that says how a group is chosen."""
    for entry in program_file("config").defaults:
        if isinstance(entry, dict) and group in entry:
            chosen = entry[group] if isinstance(entry[group], list) else [entry[group]]
            return f"; by default {', '.join(f'`{name}`' for name in chosen)}." if any(chosen) else "; by default none."
    return "."


def sentence(text: str) -> str:
    """A comment as a sentence; a name at its beginning stays as it is."""
    text = text.strip()
    if re.match(r"[a-zß-ü]+(?![\w.=/])", text):
        text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".:?!" else f"{text}."


def table(rows: Iterable[Row]) -> str:
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for row in rows:
        keys = "<br>".join(f"`{key}`" for key in row.keys)
        lines.append(f"| {keys} | {cell(row.default)} | {cell(row.allowed)} | {cell(row.meaning)} |")
    return "\n".join([*lines, ""])


def cell(text: str) -> str:
    return escaped(text).replace("|", "\\|").replace("\n", " ")


def escaped(text: str) -> str:
    """Text in which < and * mean themselves, but for what stands in backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    plain = [
        part if part.startswith("`") else re.sub(r"([*\[\]]|\b_|_\b)", r"\\\1", part.replace("<", "&lt;"))
        for part in parts
    ]
    return "".join(plain)


def anchor(group: str) -> str:
    return group.replace("/", "-")

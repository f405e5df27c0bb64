"""The documentation site: every key is in its reference, and it is built without a warning or a foreign host."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Ge, Gt, Interval, MinLen
from conftest import PROJECT, composed
from omegaconf import OmegaConf
from test_combinations import MODELS, NETWORKS, OTHER_GROUPS, choices, part_choices

from datamodules.decoding import Colour
from jobs.config_types import Accelerator, Beta
from lightning_modules.generative_model import GenerativeModel

HOOKS = PROJECT / "docs" / "hooks"


def hook(name: str) -> ModuleType:
    sys.path.insert(0, str(HOOKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(HOOKS))


allowed_values, config_files = hook("allowed_values"), hook("config_files")
config_reference, repository_links = hook("config_reference"), hook("repository_links")
papers = hook("papers")


@pytest.fixture(scope="module")
def page() -> str:
    return config_reference.page()


def keys_on(page: str) -> set[str]:
    cells = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def keys_of(*overrides: str, config: str = "config") -> dict[str, Any]:
    """The keys of a composed config that hold a value, with the value."""
    return dict(leaves(OmegaConf.to_container(composed(*overrides, config=config), resolve=False)))


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{place}{key}.")
        elif key not in config_files.OF_HYDRA:
            yield f"{place}{key}", value


def all_choices() -> list[tuple[str, ...]]:
    """Overrides by which every choice of every group is composed at least once."""
    found: list[tuple[str, ...]] = [
        (f"{group}={name}",) for group in ("data", *OTHER_GROUPS) for name in choices(group)
    ]
    for room, names in (("model", MODELS), ("network", NETWORKS)):
        for name in names:
            found.append((f"{room}={name}",))
            found += [(f"{room}={name}", f"{part}={choice}") for part, choice in part_choices(room, f"{room}={name}")]
    return list({overrides[-1]: overrides for overrides in reversed(found)}.values())


@pytest.mark.slow
def test_every_key_of_every_choice_is_on_the_page(page: str):
    known = keys_on(page)
    composed_keys: set[str] = set()
    for overrides in all_choices():
        composed_keys |= keys_of(*overrides).keys()
    for program in ("evaluate", "export", "explore"):
        composed_keys |= keys_of(config=program).keys()
    assert len(composed_keys) > 150
    assert composed_keys <= known, composed_keys - known


def test_groups_of_several_choices_say_what_is_chosen(page: str):
    assert "Chosen by `logger=`; by default `tensorboard`." in page
    assert "Chosen by `debug=`; by default none." in page


def test_every_program_that_its_help_sends_there_is_on_the_page(page: str):
    templates = (PROJECT / "conf" / "hydra" / "help").glob("*.yaml")
    programs = {path.stem for path in templates if "$CONFIG" in path.read_text()} - {"train"}
    assert "explore" in programs
    for program in programs:
        assert f"## Of {program}.py" in page


def test_a_key_that_the_page_lacked_would_be_noticed(page: str):
    lacking = page.replace("| `model.n_critic` |", "| |")
    assert "model.n_critic" in keys_of("model=gan").keys() - keys_on(lacking)


def test_defaults_on_the_page_are_those_that_are_composed(page: str):
    stated = {row.keys[0]: row.default.strip("`") for row in rows_of_the_default()}
    values = keys_of()
    compared = {key for key in stated.keys() & values.keys() if not key.startswith("choices.")}
    assert len(compared) > 60
    for key in compared:
        assert yaml.safe_load(stated[key]) == values[key], key


def rows_of_the_default() -> list[Any]:
    """Of the files that python train.py composes, later ones in the place of earlier ones."""
    defaults = {
        group: name
        for entry in config_files.program_file("config").defaults
        if isinstance(entry, dict)
        for group, name in entry.items()
        if group in config_files.groups()
    }
    rows = config_reference.rows_of(config_files.program_file("config"), ("",), config_reference.STATED)
    for group, name in defaults.items():  # as Hydra does, in the order of the list
        names = ["base", "_shared", *(name if isinstance(name, list) else [name])]
        files = [file for file in config_files.groups()[group] if file.name in names]
        for file in sorted(files, key=lambda file: names.index(file.name)):
            place = config_files.places_of(group)[0] if file.package else ""
            rows += config_reference.rows_of(file, (place,), config_reference.STATED)
    return rows


def every_row() -> list[tuple[str, Any]]:
    """By file: the rows of all files."""
    found = []
    for file in config_files.files():
        places = config_files.places_of(file.group) if file.package else ("",)
        found += [(str(file.path), row) for row in config_reference.rows_of(file, places, config_reference.STATED)]
    programs = {"config": "STATED", "evaluate": "EVALUATION", "export": "EXPORT", "explore": "EXPLORATION"}
    for name, stated in programs.items():
        file = config_files.program_file(name)
        found += [
            (str(file.path), row) for row in config_reference.rows_of(file, ("",), getattr(config_reference, stated))
        ]
    return found


def test_every_key_says_what_it_means_and_what_it_takes():
    for file, row in every_row():
        assert row.meaning, f"{file}: {row.keys[0]} has no comment beside it (or a line in docs/hooks/common_keys.yaml)"
        assert row.allowed, f"{file}: {row.keys[0]} has no type: annotate its constructor's argument"


def test_every_key_that_is_explained_once_for_all_is_a_key():
    ends = {".".join(key.split(".")[start:]) for _, row in every_row() for key in row.keys for start in range(8)}
    assert not config_reference.known_keys().keys() - ends


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (Annotated[int, Interval(ge=1, le=65536)], "a whole number from 1 to 65,536"),
        (Annotated[int, Interval(ge=1, le=10**12)], "a whole number from 1 to 1e12"),
        (Annotated[float, Gt(0)] | None, "a number > 0 or null"),
        (Annotated[float, Interval(ge=0, lt=1)], "a number ≥ 0 and < 1"),
        (Annotated[Annotated[int, Interval(ge=1, le=100)], Ge(2)], "a whole number from 2 to 100"),
        (Annotated[str, MinLen(1)] | None, "a non-empty text or null"),
        (Annotated[str, MinLen(8)], "a text of at least 8 characters"),
        (Literal["warn", "stop"], "`warn` or `stop`"),
        (tuple[Beta, Beta], "a list of 2: a number written with a point, such as 0.0; ≥ 0 and < 1"),
        (int | list[int], "a whole number or a list, each a whole number"),
        (Colour, "a colour, such as white or '#ff8000'"),
        (Path | str, "a text"),
        (dict[str, Any], "a mapping"),
        (Callable[..., Any], "a section with a `_target_`"),
        (GenerativeModel, "a section with a `_target_`"),
    ],
)
def test_a_type_is_described_by_its_range(annotation: Any, words: str):
    assert allowed_values.described(annotation) == words


def test_a_name_that_is_checked_by_a_function_is_described_by_its_message():
    assert allowed_values.described(Accelerator).startswith("one of auto, gpu, cpu")


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        ("how_to/python.md", "[a](../../SECURITY.md)", "[a](../SECURITY.md)"),
        ("how_to/python.md", "[a](../scale.md#larger-data)", "[a](../scale.md#larger-data)"),
        ("index.md", "![a](../zoo/vae_digits/samples.png)", "![a](zoo/vae_digits/samples.png)"),
        ("index.md", "[`a.py`](../train.py) and `b`", "[`a.py`](train.py.md) and `b`"),
        (
            "CONTRIBUTING.md",
            "[a](docs/ARCHITECTURE.md) [b](conf/network/mlp.yaml)",
            "[a](ARCHITECTURE.md) [b](conf/network/mlp.yaml.md)",
        ),
        ("index.md", "[a](../zoo/vae_digits)", "[a](zoo/vae_digits/README.md)"),
        (
            "index.md",
            "`[a](../SECURITY.md)` [b](https://x.org/a) [c](#start)",
            "`[a](../SECURITY.md)` [b](https://x.org/a) [c](#start)",
        ),
        ("index.md", "```\n[a](../SECURITY.md)\n```\n", "```\n[a](../SECURITY.md)\n```\n"),
    ],
)
def test_links_into_the_repository_become_links_of_the_site(uri: str, text: str, expected: str):
    assert repository_links.with_site_links(text, uri) == expected


def test_pages_that_the_navigation_does_not_name_are_added_to_it(tmp_path: Path):
    pytest.importorskip("mkdocs")
    site_hooks = hook("site_hooks")
    for name in ("index.md", "named.md", "other.md"):
        (tmp_path / name).write_text("# Title\n")
    config = SimpleNamespace(
        docs_dir=str(tmp_path), nav=[{"Home": "index.md"}, {"How to": [{"Name": "named.md"}]}, {"Results": ["more.md"]}]
    )
    assert site_hooks.on_config(config).nav[1] == {"How to": [{"Name": "named.md"}, "other.md"]}


@pytest.mark.slow
def test_site_is_built_without_warnings_and_without_other_hosts(tmp_path: Path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {"index.html", "reference/config/index.html", "reference/python/index.html"} <= {
        page.relative_to(tmp_path).as_posix() for page in pages
    }
    for page in pages:
        html = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\s\">]+)", html)
        loaded += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)[^>]* href=\"?([^\s\">]+)", html)
        for target in (target for target in loaded if not target.startswith("data:")):
            assert "//" not in target, (page, target)
            assert (page.parent / target.partition("?")[0]).exists() or page.name == "404.html", (page, target)
    assert not [sheet for sheet in tmp_path.rglob("*.css") if "fonts.g" in sheet.read_text()]


def test_papers_are_those_that_the_source_names_with_their_authors():
    rows = re.findall(r"^\| (.+?) \| \[([\d.]+)\]\(https://arxiv", papers.page(), flags=re.MULTILINE)
    named = {
        number
        for room in papers.ROOMS
        for file in (PROJECT / room).rglob("*.*")
        if file.suffix in (".py", ".yaml")
        for number in re.findall(r"\d{4}\.\d{5}", file.read_text())
    }
    assert {number for _, number in rows} >= named and len(dict(rows)) > 40
    assert ("van den Oord et al. 2017", "1711.00937") in rows and ("Kingma & Welling 2014", "1312.6114") in rows

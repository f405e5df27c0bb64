"""The rooms of the project, and which of them may import which: arrows go one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

PARTS = {"foundation", "run_folder", "lightning_modules", "datamodules"}
MAY_IMPORT = {  # of a room's modules, or a program's: rooms, or single modules of a room
    "foundation": set(),
    "run_folder": {"foundation"},
    "lightning_modules": {"foundation"},
    "datamodules": {"foundation"},
    "scoring": PARTS,
    "trackers": {"foundation", "run_folder"},
    "callbacks": {*PARTS, "scoring", "trackers"},
    "reports": {"foundation", "run_folder", "trackers", "scoring.published"},
    "jobs": {*PARTS, "scoring", "callbacks", "reports", "trackers", "hydra_plugins"},
    "hydra_plugins": {"foundation", "jobs"},
    "benchmarks": {*PARTS, "scoring", "callbacks", "reports", "jobs"},
    "explorer": {*PARTS, "scoring", "callbacks", "jobs"},
    "conf": set(),
    "train": {"jobs"},
    "evaluate": {"jobs"},
    "explore": {"jobs", "explorer"},
    "export": {"jobs"},
    "prepare": {"jobs"},
    "report": {"foundation", "reports"},
}


def imported(source: str, package: str) -> Iterator[str]:
    """The dotted names of all modules that a source imports anywhere in it, from inside `package`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def forbidden(source: str, package: str) -> list[str]:
    """Which of a source's imports its room may not have."""
    room = package.split(".")[0]
    allowed = {room, *MAY_IMPORT[room]}
    return [
        name
        for name in imported(source, package)
        if name.split(".")[0] in MAY_IMPORT and not any(f"{name}.".startswith(f"{one}.") for one in allowed)
    ]


def sources() -> list[Path]:
    """The Python files of the project, without its tests."""
    rooms = [path for path in PROJECT.iterdir() if path.is_dir() and path.name in MAY_IMPORT]
    return sorted([*PROJECT.glob("*.py"), *(source for room in rooms for source in room.rglob("*.py"))])


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_go_down_the_house(path: Path):
    place = path.relative_to(PROJECT)
    package = ".".join(place.parent.parts) or place.stem
    assert package.split(".")[0] in MAY_IMPORT, "a program or room that the table does not know"
    assert not forbidden(path.read_text(), package)


def test_every_room_is_in_the_table_and_conf_has_no_code():
    rooms = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests"}
    assert rooms <= MAY_IMPORT.keys()
    assert not list((PROJECT / "conf").rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("scoring", "from callbacks.curves import Curves"),
        ("scoring", "def late():\n    import callbacks.curves"),
        ("foundation", "from run_folder import layout"),
        ("lightning_modules.networks", "from ...scoring import features"),
        ("reports", "from scoring.extractors import sha256"),
        ("callbacks", "from jobs import building"),
        ("benchmarks", "from train import main"),
        ("train", "import callbacks"),
    ],
)
def test_table_would_notice(package: str, source: str):
    assert forbidden(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("reports", "from scoring.published import published_beside"),
        ("lightning_modules.networks", "from ..priors import Prior\nfrom .pyramid import channels\nimport torch"),
        ("jobs", "from . import building"),
        ("callbacks", "from foundation.errors import UserError"),
    ],
)
def test_table_allows(package: str, source: str):
    assert not forbidden(source, package)


def test_tests_lie_in_the_rooms_they_are_of():
    folders = {path.name for path in (PROJECT / "tests").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert folders - {"campaign"} == {path.name for path in PROJECT.iterdir() if (path / "__init__.py").is_file()}


def test_scoring_knows_neither_trainer_nor_callback():
    for path in (PROJECT / "scoring").glob("*.py"):
        assert not {"lightning", "pytorch_lightning"} & {
            name.split(".")[0] for name in imported(path.read_text(), "scoring")
        }, path

"""What an installation and a citation state is what the checkout holds."""

import configparser
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest
from conftest import PROJECT

from foundation.programs import INSTALLED, program
from jobs import command_line
from jobs.command_line import OWN

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
PACKAGES = set(PYPROJECT["tool"]["setuptools"]["packages"])
ROOMS = {package.split(".")[0] for package in PACKAGES}
LEFT_BEHIND = {".git", ".venv", "build", "data", "multirun", "outputs", "zoo"}  # large, or of earlier builds


def test_every_package_is_installed():
    packages = {
        ".".join(path.parent.relative_to(PROJECT).parts)
        for path in PROJECT.glob("[!.]*/**/__init__.py")
        if "tests" not in path.parts and not {"build", ".venv"} & set(path.parts)
    }
    assert packages | {"conf"} == PACKAGES
    scripts = {path.stem for path in PROJECT.glob("*.py")}
    assert set(PYPROJECT["tool"]["setuptools"]["py-modules"]) == scripts


def test_every_package_is_known_as_this_projects_own():
    assert {*ROOMS, *PYPROJECT["tool"]["setuptools"]["py-modules"]} - {"conf"} == OWN


def test_faults_of_this_project_are_its_own_where_it_is_installed_too(monkeypatch: pytest.MonkeyPatch):
    def raised_in(place: str) -> Exception:
        try:
            exec(compile("raise ValueError", place, "exec"))
        except ValueError as error:
            return error
        raise AssertionError

    site_packages = ".venv/lib/python3.11/site-packages"
    for project, library in (("/checkout", f"{site_packages}/torch"), (f"/me/{site_packages}", "torch")):
        monkeypatch.setattr(command_line, "PROJECT", Path(project))
        assert command_line.is_raised_here(raised_in(f"{project}/scoring/scorer.py"))
        assert command_line.is_raised_here(raised_in(f"{project}/train.py"))
        assert not command_line.is_raised_here(raised_in(f"{project}/{library}/hub.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """The wheel of this checkout, made of a copy: a build leaves files behind that a next one would take in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(PROJECT, source, ignore=lambda at, _: LEFT_BEHIND if Path(at) == PROJECT else {"__pycache__"})
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    built = subprocess.run([*pip, "-w", folder, source], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return ZipFile(path)


@pytest.mark.slow
def test_wheel_has_every_file_of_every_room_and_nothing_else(wheel: ZipFile):
    expected = {
        path.relative_to(PROJECT).as_posix()
        for room in ROOMS
        for path in (PROJECT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {path.name for path in PROJECT.glob("*.py")}
    assert {"conf/model/loss/hinge.yaml", "scoring/reference_weights/mnist.safetensors"} <= expected
    assert {"reports/templates/index.html.j2", "scoring/published.yaml"} <= expected
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected
    for name in expected:
        assert wheel.read(name) == (PROJECT / name).read_bytes(), name


@pytest.mark.slow
def test_wheel_has_a_program_for_each_script(wheel: ZipFile):
    (path,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    points = configparser.ConfigParser()
    points.read_string(wheel.read(path).decode())
    programs = dict(points["console_scripts"])
    assert set(programs) == {f"{INSTALLED}{script.stem}" for script in PROJECT.glob("*.py")}
    for target in programs.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("called", "words"),
    [
        ("train.py", ["python", "train.py"]),
        ("/home/me/.venv/bin/vae-gan-train", ["vae-gan-train"]),
        ("vae-gan-evaluate.exe", ["vae-gan-train"]),
    ],
)
def test_commands_are_printed_as_they_were_begun(called: str, words: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [called])
    assert program("train") == words


def test_types_are_checked_in_every_package():
    assert set(PYPROJECT["tool"]["mypy"]["files"]) == {"*.py", "docs/hooks", "tests", *ROOMS} - {"conf"}


def test_version_is_the_same_wherever_it_stands():
    version = PYPROJECT["project"]["version"]
    citation = re.search(r"^version: (.*)$", (PROJECT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    latest = re.search(r"^## \[([^\]]*)\]", (PROJECT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert citation and citation[1] == version
    assert latest and latest[1] == version

"""What an installation and a citation state is what the checkout holds."""

import re
import tomllib

from conftest import PROJECT

PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_every_package_is_installed():
    packages = {
        ".".join(path.parent.relative_to(PROJECT).parts)
        for path in PROJECT.glob("[!.]*/**/__init__.py")
        if "tests" not in path.parts and not {"build", ".venv"} & set(path.parts)
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages
    scripts = {path.stem for path in PROJECT.glob("*.py")}
    assert set(PYPROJECT["tool"]["setuptools"]["py-modules"]) == scripts


def test_types_are_checked_in_every_package():
    rooms = {package.split(".")[0] for package in PYPROJECT["tool"]["setuptools"]["packages"]}
    assert set(PYPROJECT["tool"]["mypy"]["files"]) == {"*.py", "tests", *rooms}


def test_version_is_the_same_wherever_it_stands():
    version = PYPROJECT["project"]["version"]
    citation = re.search(r"^version: (.*)$", (PROJECT / "CITATION.cff").read_text(), flags=re.MULTILINE)
    latest = re.search(r"^## \[([^\]]*)\]", (PROJECT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert citation and citation[1] == version
    assert latest and latest[1] == version

"""The Dockerfile, as far as it can be tested without building it: what it names is there, installed as README says."""

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch

import pytest
from conftest import PROJECT

TEXT = re.sub(r"\\\n\s*", "", (PROJECT / "Dockerfile").read_text())
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
ARGUMENTS = dict(line.removeprefix("ARG ").split("=", 1) for line in LINES if line.startswith("ARG "))
IGNORED = [
    line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and not line.startswith(("#", "**/"))
]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def is_copied(path: str) -> bool:
    return not any(fnmatch(path, pattern) or path.split("/")[0] == pattern for pattern in IGNORED)


def test_all_that_an_installation_needs_is_copied():
    setuptools = PYPROJECT["tool"]["setuptools"]
    needed = ["pyproject.toml", PYPROJECT["project"]["readme"], *PYPROJECT["project"]["license-files"]]
    needed += [f"{module}.py" for module in setuptools["py-modules"]]
    needed += [package.replace(".", "/") for package in setuptools["packages"]] + ["zoo/vae_digits/config.yaml"]
    for path in needed:
        assert (PROJECT / path).exists() and is_copied(path), path
    assert instructions("COPY") == [". ."]


@pytest.mark.parametrize("path", ["data", "outputs", "multirun", "debug", ".git", "tests"])
def test_data_and_runs_are_not_copied(path: str):
    assert not is_copied(path)


def test_it_installs_as_the_readme_says():
    (install,) = [line for line in instructions("RUN") if "-e" in line]
    command = install.split("&&")[0].split()
    assert command == ["pip", "install", "-e", '".[$EXTRAS]"']
    assert "pip install -e ." in (PROJECT / "README.md").read_text()
    assert set(ARGUMENTS["EXTRAS"].split(",")) <= PYPROJECT["project"]["optional-dependencies"].keys()


def test_torch_is_asked_for_as_the_project_does():
    (install,) = [line for line in instructions("RUN") if "$TORCH_INDEX" in line]
    bounds = {word for word in shlex.split(install) if re.match("torch(vision)?>", word)}
    assert bounds == {word for word in PYPROJECT["project"]["dependencies"] if re.match("torch(vision)?>", word)}


def test_its_python_is_one_that_the_project_supports():
    low, high = re.findall(r"\d+\.(\d+)", PYPROJECT["project"]["requires-python"])
    assert int(low) <= int(ARGUMENTS["PYTHON"].split(".")[1]) < int(high)


def test_runs_are_not_roots_and_what_they_leave_lies_in_volumes():
    assert instructions("USER") == ["$USER_ID"] and int(ARGUMENTS["USER_ID"]) > 0
    assert LINES.index("USER $USER_ID") > max(LINES.index(f"RUN {line}") for line in instructions("RUN"))
    (work,), (volumes,) = instructions("WORKDIR"), instructions("VOLUME")
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    for volume in json.loads(volumes):
        assert volume.startswith(f"{work}/") and f"{volume.removeprefix(work)}/" in ignored
    (made,) = re.findall(r"mkdir --parents ([\w ]+)", TEXT)
    (owned,) = re.findall(r'chown "\$USER_ID" ([\w ]+)', TEXT)
    assert made.split() == owned.split() and {f"{work}/{name}" for name in made.split()} > set(json.loads(volumes))


def test_what_it_runs_is_a_program_of_the_project():
    entry, command = (json.loads(instructions(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["python"] and (PROJECT / command[0]).is_file()
    for program in re.findall(r"vae-vs-gan(?::cuda)? (\w+\.py)", (PROJECT / "Dockerfile").read_text()):
        assert (PROJECT / program).is_file()

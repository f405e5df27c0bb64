"""The notebooks: they are stored without outputs and begin in the checkout. pytest runs them by nbmake."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def cells_of(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_the_notebooks_that_the_site_lists():
    listed = (PROJECT / "docs" / "tutorials" / "notebooks.md").read_text()
    assert len(NOTEBOOKS) >= 4
    for path in NOTEBOOKS:
        assert f"`{path.name}`" in listed


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path):
    notebook = json.loads(path.read_text())
    assert [cell["id"] for cell in notebook["cells"]] == [str(place) for place in range(len(notebook["cells"]))]
    for cell in cells_of(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None and cell["metadata"] == {}
    assert notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}  # without the version of whoever ran it


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("begun_in", [PROJECT, PROJECT / "notebooks"], ids=["checkout", "notebooks"])
def test_a_notebook_begins_in_the_checkout(path: Path, begun_in: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(begun_in)
    exec("".join(cells_of(path)[0]["source"]), {})
    assert Path(os.getcwd()).samefile(PROJECT)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_explains_what_it_does(path: Path):
    assert "".join(cells_of(path, "markdown")[0]["source"]).startswith("# ")
    assert 2 * len(cells_of(path, "markdown")) >= len(cells_of(path))

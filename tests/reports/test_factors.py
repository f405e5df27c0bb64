"""Factor tables: the score of each cell where a family's models are a grid of two settings."""

from pathlib import Path

import pytest
from report_runs import make_run

from reports.data_sets import data_sets_of
from reports.run_folders import find_runs
from reports.tables import Table


def tables_of(folder: Path) -> list[Table]:
    (data_set,) = data_sets_of(find_runs([folder]))
    return [table for table in data_set.tables if "×" in table.title]


def grid(folder: Path, cells: list[tuple[str, int, float]]) -> None:
    for loss, latents, fid in cells:
        for seed in range(2):
            name = f"{loss}_{latents}_{seed}"
            make_run(folder / name, "gan", "digits", seed, fid + seed, loss=loss, latent_dim=latents)


def test_a_grid_of_two_settings_has_the_mean_of_each_cell(tmp_path: Path):
    grid(tmp_path, [("hinge", 9, 3.0), ("hinge", 10, 4.0), ("logistic", 9, 5.0), ("logistic", 10, 2.0)])
    (table,) = tables_of(tmp_path)
    assert table.title == "GAN: latent dim × loss"
    assert [heading.text for heading in table.headings[1:]] == ["hinge", "logistic"]
    rows = {row[0].text: [(cell.text, cell.detail, cell.best) for cell in row[1:]] for row in table.rows}
    assert list(rows) == ["9", "10"]  # by size, not by spelling
    assert rows["9"] == [("3.50", "n = 2", False), ("5.50", "n = 2", False)]
    assert rows["10"] == [("4.50", "n = 2", False), ("2.50", "n = 2", True)]


@pytest.mark.parametrize("left_out", [0, 1, 2, 3])
def test_a_grid_with_a_hole_is_none(left_out: int, tmp_path: Path):
    cells = [("hinge", 9, 3.0), ("hinge", 10, 4.0), ("logistic", 9, 5.0), ("logistic", 10, 2.0)]
    grid(tmp_path, [cell for index, cell in enumerate(cells) if index != left_out])
    assert tables_of(tmp_path) == []


def test_settings_that_go_together_are_one_factor(tmp_path: Path):
    for latents, loss, width in ((9, "hinge", 1), (10, "hinge", 1), (9, "logistic", 2), (10, "logistic", 2)):
        name = f"{loss}_{latents}"
        make_run(tmp_path / name, "gan", "digits", 0, 3.0, loss=loss, latent_dim=latents, extra=width)
    assert len(tables_of(tmp_path)) == 1

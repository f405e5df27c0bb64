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


def test_a_third_setting_that_differs_between_cells_is_no_grid(tmp_path: Path):
    for latents, loss, width in ((9, "hinge", 1), (10, "hinge", 1), (9, "logistic", 1), (10, "logistic", 2)):
        make_run(
            tmp_path / f"{loss}_{latents}", "gan", "digits", 0, 4.0 - width, loss=loss, latent_dim=latents, extra=width
        )
    assert tables_of(tmp_path) == []


def test_a_third_setting_that_every_cell_has_alike_is_averaged_over(tmp_path: Path):
    for latents in (9, 10):
        for loss in ("hinge", "logistic"):
            for width in (1, 2):
                name = f"{loss}_{latents}_{width}"
                make_run(tmp_path / name, "gan", "digits", 0, 3.0, loss=loss, latent_dim=latents, extra=width)
    assert len(tables_of(tmp_path)) == 3  # one for each two of the three


def test_cells_of_other_numbers_of_seeds_are_no_grid(tmp_path: Path):
    grid(tmp_path, [("hinge", 9, 3.0), ("hinge", 10, 4.0), ("logistic", 9, 5.0), ("logistic", 10, 2.0)])
    make_run(tmp_path / "more", "gan", "digits", 2, 3.0, loss="hinge", latent_dim=9)
    assert tables_of(tmp_path) == []


def test_a_third_setting_of_many_values_is_no_grid(tmp_path: Path):
    """More values than a factor can have, every cell its own."""
    for number in range(16):
        loss, latents = ("hinge", "logistic")[number % 2], 9 + number // 2 % 2
        make_run(tmp_path / str(number), "gan", "digits", 0, 3.0, loss=loss, latent_dim=latents, extra=number)
    assert tables_of(tmp_path) == []


def test_details_of_a_part_go_with_it(tmp_path: Path):
    for penalty, detail in (("r1", 10), ("none", None)):
        for loss in ("hinge", "logistic"):
            part = {"_target_": penalty} | ({"weight": detail} if detail else {})
            make_run(tmp_path / f"{loss}_{penalty}", "gan", "digits", 0, 3.0, loss=loss, penalty=part)
    assert len(tables_of(tmp_path)) == 1

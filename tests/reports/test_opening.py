"""What a reader sees first: real images, each model's samples beside them, who wins, by how much, at what cost."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from report_runs import make_run

from callbacks.pictures import save_sheet
from callbacks.sheets import Block, Sheet
from reports.browser import frames_of
from reports.data_sets import DataSet, data_sets_of
from reports.opening import AT_FIRST
from reports.pictures import SHOWN, open_png, picture_of, real_images, tiles_of
from reports.run_folders import find_runs
from run_folder.pictures import grid_of as grid_of_picture
from run_folder.pictures import picture_file

SIDE, PADDING = 4, 2


def grid_of(greys: list[list[int]]) -> Image.Image:
    """Tiles of one grey each, in rows, with white around each of them."""
    step = SIDE + PADDING
    pixels = np.full((len(greys) * step + PADDING, len(greys[0]) * step + PADDING), 255, dtype=np.uint8)
    for row, own in enumerate(greys):
        for column, grey in enumerate(own):
            top, left = row * step + PADDING, column * step + PADDING
            pixels[top : top + SIDE, left : left + SIDE] = grey
    return Image.fromarray(pixels)


def run_with(folder: Path, model: str, pictures: dict[str, Image.Image], fid: float = 3.0, **grids: object) -> None:
    make_run(folder, model, "digits", 0, fid)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"callbacks": grids}))
    for name, picture in pictures.items():
        picture.save(folder / "pictures" / f"{name}.png")


def data_set_of(folder: Path) -> DataSet:
    (data_set,) = data_sets_of(find_runs([folder]))
    return data_set


def greys_of(folder: Path) -> list[int]:
    """Of the real images, as they were cut out and pasted."""
    seen: list[int] = []
    original = Image.Image.paste
    models = data_set_of(folder).models

    def paste(self, tile, place):
        seen.append(tile.getpixel((1, 1))[0])
        original(self, tile, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "paste", paste)
        assert real_images(models)
    return seen


@pytest.mark.parametrize(
    ("name", "greys", "real", "source"),
    [
        ("reconstructions_final", [[10, 20, 30], [1, 2, 3], [40, 50, 60], [4, 5, 6]], [10, 20, 30, 40, 50, 60],
         "the first of val"),
        ("nearest_train_final", [[1, 2, 3], [10, 20, 30]], [10, 20, 30], "of train: those that are nearest to samples"),
    ],
)  # fmt: skip
def test_real_images_are_cut_out_of_what_shows_some(
    name: str, greys: list, real: list[int], source: str, tmp_path: Path
):
    grid = {"columns": 3, "rows": 2}
    run_with(tmp_path / "run", "vae", {name: grid_of(greys)}, sample_grid=grid, reconstruction_grid=dict(grid))
    assert greys_of(tmp_path) == real
    assert data_set_of(tmp_path).opening.real.source == source


def test_a_real_image_that_several_runs_show_is_there_once(tmp_path: Path):
    grid = {"columns": 3, "rows": 1}
    for name, greys in (
        ("a", [[10, 20, 30], [1, 2, 3]]),
        ("b", [[10, 20, 30], [4, 5, 6]]),
        ("c", [[10, 40, 40], [7, 8, 9]]),
    ):
        run_with(tmp_path / name, "vae", {"reconstructions_final": grid_of(greys)}, reconstruction_grid=dict(grid))
    assert greys_of(tmp_path) == [10, 20, 30, 40]
    assert data_set_of(tmp_path).opening.real.picture.alt == "4 real images"


def test_a_grid_opens_at_its_first_tiles(tmp_path: Path):
    grey = grid_of([[0] * 12] * 8)
    run_with(tmp_path / "run", "gan", {"samples_fixed_final": grey}, sample_grid={"columns": 12, "rows": 8})
    (run,) = find_runs([tmp_path])
    picture = picture_of(run, "samples_fixed_final", "a", "b")
    wide, high = (count * (SIDE + PADDING) + PADDING for count in SHOWN)
    assert picture.window.scale == grey.width / wide and picture.window.ratio == wide / high


@pytest.mark.parametrize("columns", [7, 0, -3, True, "3", 10**9, None])
def test_a_grid_that_the_config_does_not_fit_is_shown_whole(columns: object, tmp_path: Path):
    grey = grid_of([[0] * 3] * 2)
    run_with(tmp_path / "run", "gan", {"samples_fixed_final": grey}, sample_grid={"columns": columns, "rows": 2})
    (run,) = find_runs([tmp_path])
    path = run.picture("samples_fixed_final")
    assert tiles_of(run, open_png(path), "sample_grid") is None
    assert picture_of(run, "samples_fixed_final", "a", "b").window == (1, grey.width / grey.height)


def test_each_model_stands_with_its_score_its_distance_and_its_cost(tmp_path: Path):
    for model, fids in (("gan", [3.0, 3.5, 4.0]), ("vae", [9.0, 9.25, 10.25])):
        for seed, fid in enumerate(fids):
            make_run(tmp_path / f"{model}_{seed}", model, "digits", seed, fid)
    opening = data_set_of(tmp_path).opening
    assert opening.verdict == "gan (mlp) beats vae (mlp)" and opening.others == []
    gan, vae = opening.entries
    assert (gan.name, gan.score, gan.against) == ("gan (mlp)", "fid ↓ 3.50", "the best")
    assert (vae.score, vae.against) == ("fid ↓ 9.50", "+6.00: far more than noise")
    assert vae.cost == "90 s · 1,000 parameters" and vae.interval.endswith(", 3 seeds")


def test_the_best_of_each_family_is_seen_before_others(tmp_path: Path):
    for latents in range(6):
        make_run(tmp_path / f"gan_{latents}", "gan", "digits", 0, 3.0 + latents, latent_dim=latents + 2)
    make_run(tmp_path / "vae", "vae", "digits", 0, 99.0)
    opening = data_set_of(tmp_path).opening
    names = [entry.name.split(" ")[0] for entry in opening.entries]
    assert names == ["gan"] * (AT_FIRST - 1) + ["vae"]
    assert len(opening.others) == 7 - AT_FIRST and all(entry.name.startswith("gan") for entry in opening.others)


def titled(path: Path, greys: list[list[int]], **said: object) -> None:
    """A grid of white and grey as a run draws it, title and labels around it."""
    images = torch.tensor(greys).flatten().view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE) / 255
    save_sheet(path, Sheet("A title", [Block(images, len(greys[0]), **said)], facts=["gan (mlp) · digits · seed 0"]))


def test_of_a_titled_picture_in_the_folder_of_its_kind_the_images_alone_are_shown(tmp_path: Path):
    greys = [[0] * 12] * 8
    run_with(tmp_path / "run", "gan", {}, sample_grid={"columns": 12, "rows": 8})
    (tmp_path / "run" / "pictures" / "samples_fixed_final.png").unlink()
    titled(picture_file(tmp_path / "run", "samples_fixed", "final"), greys, column_labels=["a"] * 12)
    (run,) = find_runs([tmp_path])
    shown = open_png(run.picture("samples_fixed_final"))
    assert shown.size == grid_of(greys).resize((12 * 50 + 2, 8 * 50 + 2)).size
    picture = picture_of(run, "samples_fixed_final", "a", "b")
    assert picture.window.scale == shown.width / (SHOWN[0] * 50 + PADDING)


def test_real_images_are_cut_out_of_titled_reconstructions(tmp_path: Path):
    run_with(tmp_path / "run", "vae", {}, reconstruction_grid={"columns": 2, "rows": 2})
    path = picture_file(tmp_path / "run", "reconstructions", "final")
    titled(path, [[10, 20], [4, 5], [30, 40], [6, 7]], row_labels=["real", "reconstruction"] * 2)
    with Image.open(path) as opened:
        grid = grid_of_picture(opened)
    assert grid is not None and grid.rows == 4
    assert sorted(set(greys_of(tmp_path)) & {10, 20, 30, 40}) == [10, 20, 30, 40]


def test_the_browser_finds_samples_by_epoch_in_the_folder_of_their_kind(tmp_path: Path):
    run_with(tmp_path / "run", "gan", {}, sample_grid={"columns": 2, "rows": 1})
    for epoch in (3, 12):
        titled(picture_file(tmp_path / "run", "samples_fixed", f"epoch_{epoch:04d}"), [[epoch, 200]])
    (run,) = find_runs([tmp_path])
    assert [frame.epoch for frame in frames_of(run)] == [3, 12]

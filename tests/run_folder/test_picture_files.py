"""Pictures of a run folder: their places, also those of earlier versions, and where in them the images are."""

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from run_folder.pictures import (
    Grid,
    bare_grid,
    epoch_stage,
    find_picture,
    grid_of,
    kind_and_stage,
    metadata,
    picture_file,
    pictures_by_epoch,
)

GRID = Grid(left=10, top=30, columns=3, rows=2, width=4, height=5, step_x=6, step_y=9)


def draw(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 50), colour).save(path)
    return path


def test_a_picture_is_found_where_it_is_written_or_where_earlier_versions_wrote_it(tmp_path: Path):
    assert find_picture(tmp_path, "samples_fixed", "final") is None
    old = draw(tmp_path / "pictures" / "samples_fixed_final.png")
    assert find_picture(tmp_path, "samples_fixed", "final") == old
    new = draw(picture_file(tmp_path, "samples_fixed", "final"))
    assert find_picture(tmp_path, "samples_fixed", "final") == new == tmp_path / "pictures/samples_fixed/final.png"


def test_pictures_of_epochs_ascend_and_those_of_earlier_versions_are_among_them(tmp_path: Path):
    first = draw(tmp_path / "pictures" / "samples_fixed_epoch_0002.png")
    draw(tmp_path / "pictures" / "samples_fixed_epoch_0010.png")
    draw(tmp_path / "pictures" / "samples_fresh_epoch_0004.png")
    draw(tmp_path / "pictures" / "epoch_0003.png")
    new = [draw(picture_file(tmp_path, "samples_fixed", epoch_stage(epoch))) for epoch in (10, 12345)]
    draw(picture_file(tmp_path, "samples_fixed", "final"))
    (tmp_path / "pictures" / "samples_fixed" / "epoch_0005.txt").write_text("")
    found = pictures_by_epoch(tmp_path, "samples_fixed")
    assert list(found.items()) == [(2, first), (10, new[0]), (12345, new[1])]
    assert pictures_by_epoch(tmp_path / "none", "samples_fixed") == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("samples_fixed_epoch_0010", ("samples_fixed", "epoch_0010")),
        ("interpolation_slerp_final", ("interpolation_slerp", "final")),
    ],
)
def test_a_name_is_parted_into_kind_and_stage(name: str, expected: tuple[str, str]):
    assert kind_and_stage(name) == expected


def test_images_of_a_grid_are_found_by_what_its_file_says(tmp_path: Path):
    picture = Image.new("RGB", (40, 50), "blue")
    for index in range(6):
        row, column = divmod(index, 3)
        picture.paste((index, 0, 0), (10 + 6 * column, 30 + 9 * row, 14 + 6 * column, 35 + 9 * row))
    picture.save(tmp_path / "a.png", pnginfo=metadata("a title – «π»\udcff", GRID))
    with Image.open(tmp_path / "a.png") as read:
        assert grid_of(read) == GRID and read.info["Title"] == "a title – «π»?"
        bare = bare_grid(read)
    assert bare.size == (3 * 6 + 2, 2 * 7 + 2)
    for index in range(6):
        row, column = divmod(index, 3)
        left, top = 2 + 6 * column, 2 + 7 * row
        assert bare.crop((left, top, left + 4, top + 5)).getcolors() == [(20, (index, 0, 0))]
    assert bare.getpixel((0, 0)) == bare.getpixel((6, 7)) == (255, 255, 255)


@pytest.mark.parametrize(
    "said",
    [
        "", "nonsense", "[1, 2]", "{}", "null", json.dumps(GRID._replace(columns=6)), json.dumps(GRID._replace(rows=3)),
        json.dumps(GRID._replace(left=-1)), json.dumps(GRID._replace(step_x=5)), json.dumps(GRID._replace(width=0)),
        json.dumps(GRID._replace(columns=0)), json.dumps(GRID._replace(top=1.5)), json.dumps(GRID._replace(top=True)),
        json.dumps(GRID._replace(step_x=0, width=1, columns=10**9)), "[" * 100_000,
        json.dumps(GRID._replace(left=0, width=38, columns=2, step_x=0)), "[1e400, 1, 1, 1, 1, 1, 3, 3]",
    ],
)  # fmt: skip
def test_a_file_that_says_what_can_not_be_is_taken_as_a_whole(said: str, tmp_path: Path):
    facts = PngInfo()
    facts.add_text("Grid", said)
    Image.new("RGB", (40, 50)).save(tmp_path / "a.png", pnginfo=facts)
    with Image.open(tmp_path / "a.png") as read:
        assert grid_of(read) is None and bare_grid(read).size == (40, 50)


def test_charts_have_no_stage_and_are_not_looked_for_by_one():
    with pytest.raises(ValueError, match="loss_curves names no stage"):
        kind_and_stage("loss_curves")

"""Sheets say what their images are, and leave the images' pixels alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.pictures import save_sheet
from callbacks.sheets import Block, Sheet, cut, draw_sheet, font, shortened, tile, wrapped
from run_folder.pictures import bare_grid

FACTS = ["vae (conv) · digits · seed 0", "epoch 80 · val/fid_reference 3.24"]


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 40, 70)])
@pytest.mark.parametrize(
    "around",
    [
        {},
        {"row_labels": ["real", "reconstruction"]},
        {"column_labels": ["English springer", "cassette player"], "captions": ["1.23"] * 7, "heading": "of two"},
    ],
)
def test_the_images_of_a_sheet_are_to_the_pixel_those_of_a_bare_grid(shape, around, tmp_path: Path):
    images = torch.rand(7, *shape, generator=torch.Generator().manual_seed(0))
    sheet = Sheet("Samples", [Block(images, 3, **around)], "a note", facts=FACTS)
    drawn = save_sheet(tmp_path / "a.png", sheet)
    expected = tile(images, 3).permute(1, 2, 0).numpy()
    with Image.open(tmp_path / "a.png") as read:
        assert read.info["Title"] == f"Samples – {' – '.join(FACTS)}"
        assert np.array_equal(pixels(bare_grid(read)), expected)
        assert read.size == drawn.picture.size and read.height > expected.shape[0]


def test_each_thing_that_is_said_is_drawn_where_it_belongs():
    images = torch.ones(6, 1, 48, 48)  # white as the sheet: what is dark is text
    plain = Sheet("", [Block(images, 3)])

    def ink(**around: object) -> tuple[np.ndarray, int, int]:
        drawn = draw_sheet(Sheet("", [Block(images, 3, **around)]))
        dark = pixels(drawn.picture).min(axis=2) < 128
        return dark, drawn.grid.left, drawn.grid.top

    assert not (pixels(draw_sheet(plain).picture) < 128).any()
    dark, left, _ = ink(row_labels=["", "reconstruction"])
    assert dark[:, :left].any() and not dark[:, left:].any()
    ys = np.nonzero(dark)[0]
    _, _, top = ink(row_labels=["", "reconstruction"])
    assert top + 50 < ys.min() and ys.max() < top + 98  # beside the second row
    dark, left, top = ink(column_labels=["", "", "dog"])
    xs = np.nonzero(dark)[1]
    assert not dark[top:].any() and left + 100 <= xs.min() and xs.max() < left + 148
    dark, left, top = ink(captions=["", "0.5"])
    ys, xs = np.nonzero(dark)
    assert top + 48 <= ys.min() and left + 50 <= xs.min() and xs.max() < left + 98
    titled = draw_sheet(Sheet("Samples", [Block(images, 3)]))
    dark = pixels(titled.picture).min(axis=2) < 128
    assert dark[: titled.grid.top].any() and not dark[titled.grid.top :].any()


def test_a_sheet_tells_of_its_first_block_and_of_as_many_rows_as_it_says():
    images = torch.rand(6, 1, 48, 48)
    sheet = Sheet("", [Block(images, 2), Block(1 - images, 2)], told_rows=2)
    drawn = draw_sheet(sheet)
    assert drawn.grid.rows == 2 and drawn.grid.columns == 2


def test_text_grows_with_sheets_that_are_looked_at_from_afar():
    small, large = (draw_sheet(Sheet("Title", [Block(torch.ones(10, 1, side, side), 10)])) for side in (64, 256))
    assert 3 * small.grid.top < large.grid.top < 6 * small.grid.top


def test_lines_break_where_they_may_and_end_with_an_ellipsis_where_they_must():
    small = font(10)
    words = wrapped("one two three four", small, small.getlength("one two "))
    assert words == ["one two", "three", "four"]
    assert wrapped("a b · c d", small, small.getlength("a b · c"), " · ") == ["a b", "c d"]
    assert cut("abcdefgh", small, small.getlength("abcd…")) == "abcd…" and cut("abc", small, 100) == "abc"
    lines = shortened("a_very long name of\na class", small, 40)
    assert len(lines) == 2 and lines[1].endswith("…") and all(small.getlength(line) <= 40 for line in lines)


@pytest.mark.parametrize("text", ["", "日本語 ∞ ‖", "a\nb\tc", "x" * 500, "\udcff", "\0"])
def test_any_text_can_be_drawn(text: str, tmp_path: Path):
    block = Block(torch.rand(2, 3, 8, 8), 2, text, [text], [text, text], [text, text])
    save_sheet(tmp_path / "a.png", Sheet(text, [block], text, facts=[text]))
    Image.open(tmp_path / "a.png").load()

"""From files to pixels: as they are meant to be seen, and all that can't be read named at once."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed
from PIL import Image, ImageOps
from small_data import write_image

from datamodules.decoding import MAX_NAMED, decode, decode_file, over, read_image
from datamodules.image_datamodule import DataError
from foundation.errors import ConfigError
from jobs.config_check import check

ORIENTATION = 0x0112
GLYPH = np.zeros((16, 16), dtype=bool)
GLYPH[5:11, 5:11] = True  # where images are opaque
# From an upright image to how it is stored, so that viewers turn it back.
STORED = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


def pixels(path: Path, background: str = "white", channels: int = 3) -> np.ndarray:
    return np.asarray(read_image(path, channels, background))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_image_is_turned_as_viewers_turn_it(orientation: int, ending: str, tmp_path: Path):
    write_image(tmp_path / "upright.png", 0)  # 16 x 12
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    with Image.open(tmp_path / "upright.png") as upright:
        STORED[orientation](upright).save(tmp_path / f"stored.{ending}", exif=exif, lossless=True)
        expected = np.asarray(upright)
    assert np.array_equal(pixels(tmp_path / f"stored.{ending}"), expected)
    turned, as_it_is = (decode_file(tmp_path / name, 8, 3, "white") for name in (f"stored.{ending}", "upright.png"))
    assert torch.equal(turned, as_it_is)  # turned before the crop


def test_photograph_on_its_side_has_red_at_the_right(tmp_path: Path):
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:, 8:, 0] = 254
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    STORED[6](Image.fromarray(upright)).save(tmp_path / "exif.jpg", exif=exif, quality=95, subsampling=0)
    decoded = decode_file(tmp_path / "exif.jpg", 16, 3, "white").permute(1, 2, 0).numpy()
    assert np.abs(decoded.astype(int) - upright).max() <= 6


def transparent(kind: str) -> Image.Image:
    """A black glyph; all around it is transparent and, seen without that, of another colour."""
    alpha = Image.fromarray(GLYPH.astype(np.uint8) * 255)
    grey = Image.fromarray(np.where(GLYPH, 0, 77).astype(np.uint8))
    if kind == "LA":
        return Image.merge("LA", (grey, alpha))
    colour = np.where(GLYPH[..., None], 0, np.array([255, 0, 255])).astype(np.uint8)
    return Image.merge("RGBA", (*Image.fromarray(colour).split(), alpha))


def palette() -> Image.Image:
    image = Image.fromarray(GLYPH.astype(np.uint8)).convert("P")
    image.putpalette([0, 255, 0, 0, 0, 0])
    return image


@pytest.mark.parametrize("background", ["white", "#ff8000"])
@pytest.mark.parametrize("name", ["rgba.png", "la.png", "pal.png", "grey.png", "rgba.webp", "pal.gif"])
def test_transparent_images_are_put_over_the_background(name: str, background: str, tmp_path: Path):
    path = tmp_path / name
    if name.startswith("pal"):
        palette().save(path, transparency=0)
    elif name == "grey.png":
        Image.fromarray(np.where(GLYPH, 0, 77).astype(np.uint8)).save(path, transparency=77)
    else:
        transparent("LA" if name == "la.png" else "RGBA").save(path, lossless=True)
    around = np.array([255, 255, 255] if background == "white" else [255, 128, 0])
    expected = np.where(GLYPH[..., None], 0, around).astype(np.uint8)
    assert np.array_equal(pixels(path, background), expected)
    grey = np.asarray(Image.fromarray(expected).convert("L"))
    assert np.array_equal(pixels(path, background, channels=1), grey)


def test_black_on_nothing_is_seen(tmp_path: Path):
    Image.fromarray(np.where(GLYPH[..., None], [0, 0, 0, 255], 0).astype(np.uint8), "RGBA").save(tmp_path / "a.png")
    assert np.array_equal(pixels(tmp_path / "a.png", channels=1), np.where(GLYPH, 0, 255))


def test_half_transparent_is_half_of_each():
    image = Image.new("RGBA", (1, 1), (0, 100, 200, 128))
    for background, of_it in (("white", 255), ("black", 0)):
        mixed = over(image, background).getpixel((0, 0))
        assert mixed == pytest.approx([(128 * part + 127 * of_it) / 255 for part in (0, 100, 200)], abs=1)


def test_what_is_opaque_is_left_as_it_is(tmp_path: Path):
    for mode in ("L", "RGB"):
        image = Image.new(mode, (2, 2))
        assert over(image, "white") is image


@pytest.mark.parametrize("colour", ["whte", "#ff00", "transparent", "#ff800080", ""])
def test_background_that_is_no_colour_is_refused(colour: str):
    with pytest.raises(
        ConfigError, match=r"data\.background: expected (a colour, such as white or '#ff8000'|something), got "
    ):
        check(composed("data=folder", "data.root=x", f"data.background='{colour}'"))


def test_background_of_given_images_is_that_of_the_data():
    assert composed("images=x", "data=mnist", config="evaluate").background == "white"
    cfg = composed("images=x", "data=folder", "data.root=x", "data.background=black", config="evaluate")
    assert cfg.background == "black"
    with pytest.raises(ConfigError, match="background: expected a colour"):
        check(composed("run=x", "background=blak", config="evaluate"))


def test_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-30])  # decoding would fail otherwise
    for limit in (599, 200):  # Pillow warns of the one and refuses the other
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.warns() if limit == 599 else io.StringIO(), pytest.raises(DataError, match=r"a\.png .*600 pixels"):
            read_image(tmp_path / "a.png", 3, "white")


@pytest.mark.parametrize("broken", [1, 3])
def test_all_broken_files_are_named_at_once(broken: int, tmp_path: Path):
    paths = [tmp_path / f"{number:03d}.png" for number in range(70)]
    for number, path in enumerate(paths):
        write_image(path, number)
    for path in paths[5 : 5 + 20 * broken : 20]:  # in tasks of their own
        path.write_text("none")
    images = torch.zeros(70, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(DataError, match="Mend them") as refused:
        decode(paths, images, "white", "Mend them")
    named = [path.name for path in paths if path.name in str(refused.value)]
    assert named == ["005.png", "025.png", "045.png"][:broken]
    assert ("3 files can't be used" in str(refused.value)) == (broken == 3)
    assert torch.equal(images[69], decode_file(paths[69], 8, 3, "white"))


def test_of_very_many_broken_files_some_are_named(tmp_path: Path):
    paths = [tmp_path / f"{number}.png" for number in range(500)]
    for path in paths:
        path.write_text("none")
    with pytest.raises(DataError, match=f"{MAX_NAMED} or more files can't be used") as refused:
        decode(paths, torch.zeros(500, 3, 8, 8, dtype=torch.uint8), "white", "")
    assert str(refused.value).count("no readable image") == MAX_NAMED

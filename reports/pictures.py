"""Pictures of run folders as the page embeds them, and real images cut out of those that show some."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from math import sqrt
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from run_folder.pictures import PADDING, UNREADABLE, bare_grid

from .allowance import Allowance
from .models import Model
from .runs import Run

LARGEST_PICTURE = 760  # pixels a side, on the page
MOST_PIXELS = 2**25  # of a file
SMALLEST_PICTURE = 64  # pixels of the longer side; what would have to be smaller is a link
TRIES = 4  # at a picture that is to be small enough
QUALITY = 88  # of WebP
MOST_TILES = 64  # in a row or a column, of a picture that says how many it has
SHOWN = (6, 4)  # columns and rows of a grid that are seen before it is opened
DAMAGED = UNREADABLE


class Window(NamedTuple):
    """What of a picture is seen before it is opened: its upper left part."""

    scale: float  # the picture's width over the window's
    ratio: float  # the window's width over its height


class Picture(NamedTuple):
    caption: str
    alt: str
    uri: str
    width: int
    height: int
    window: Window = Window(1, 1)


class LinkedPicture(NamedTuple):
    """A picture that the page has no room for: a link to its file."""

    caption: str
    path: Path


class Tiles(NamedTuple):
    """The images of a grid: how many there are, and the pixels from one to the next."""

    columns: int
    rows: int
    wide: int
    high: int


class RealImages(NamedTuple):
    picture: Picture
    source: str  # where they are from, in words


def picture_of(
    run: Run,
    name: str,
    caption: str,
    alt: str,
    allowance: Allowance,
    most: int,
    side: int = LARGEST_PICTURE,
    whole: bool = False,
) -> Picture | LinkedPicture | None:
    """A picture of a run's folder, at most so many pixels a side and so many bytes, or else a link to it.

    None where there is none that can be read. Of a grid the first tiles are seen before it is opened, unless `whole`.
    """
    path = run.picture(name)
    with suppress(*DAMAGED):
        if path is not None:
            opened = open_png(path)
            window = window_of(opened, None if whole else tiles_of(run, opened, "sample_grid"))
            picture = embedded(opened, caption, alt, window, side, min(most, allowance.left))
            allowance.spend(len(picture.uri) if picture else 0)
            return picture or LinkedPicture(caption, path)
    return None


def open_png(path: Path) -> Image.Image:
    """A PNG file's picture in RGB, of a grid its images alone. Raises one of DAMAGED."""
    with Image.open(path, formats=["PNG"]) as opened:
        if opened.width * opened.height > MOST_PIXELS:  # known from its header, before anything is decoded
            raise ValueError(f"{opened.width}x{opened.height} pixels")
        return bare_grid(opened.convert("RGB"))


def embedded(picture: Image.Image, caption: str, alt: str, window: Window, side: int, most: int) -> Picture | None:
    """A picture as a data URI of at most so many bytes: smaller if need be, never larger. None: it would be tiny."""
    for _ in range(TRIES):
        shown = picture.copy()
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        shown.save(file, "WEBP", quality=QUALITY)
        uri = data_uri(file.getvalue())
        if len(uri) <= most:
            return Picture(caption, alt, uri, *shown.size, window)
        side = int(0.9 * max(shown.size) * sqrt(most / len(uri)))  # bytes go with the area
        if side < SMALLEST_PICTURE:
            return None
    return None


def data_uri(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def window_of(picture: Image.Image, tiles: Tiles | None) -> Window:
    """The first tiles of a grid; all of a picture that is none."""
    if tiles is None:
        return Window(1, picture.width / picture.height)
    columns, rows = min(SHOWN[0], tiles.columns), min(SHOWN[1], tiles.rows)
    wide, high = columns * tiles.wide + PADDING, rows * tiles.high + PADDING
    return Window(picture.width / wide, wide / high)


def tiles_of(run: Run, picture: Image.Image, callback: str, rows_each: int = 1) -> Tiles | None:
    """The tiles of a picture that a callback drew, as the run's config says; None where they would not fill it."""
    columns = run.config.get(f"callbacks.{callback}.columns")
    rows = run.config.get(f"callbacks.{callback}.rows")
    if not (type(columns) is int and type(rows) is int and 0 < columns <= MOST_TILES and 0 < rows <= MOST_TILES):
        return None
    wide, too_wide = divmod(picture.width - PADDING, columns)
    high, too_high = divmod(picture.height - PADDING, rows * rows_each)
    fits = wide > PADDING and high > PADDING and not too_wide and not too_high
    return Tiles(columns, rows * rows_each, wide, high) if fits else None


def real_images(models: Sequence[Model], allowance: Allowance, most: int) -> RealImages | None:
    """As many real images as a window shows, each once, out of the runs' pictures on one data set; None of none."""
    runs = [run for model in models for run in model.finished]
    for cut, source in SOURCES:
        tiles: dict[tuple[tuple[int, int], bytes], Image.Image] = {}  # by size and pixels: runs show the same images
        for run in runs:
            with suppress(*DAMAGED):
                for tile in cut(run):
                    tiles.setdefault((tile.size, tile.tobytes()), tile)
            if len(tiles) >= SHOWN[0] * SHOWN[1]:
                break
        picture = mosaic(list(tiles.values()), min(most, allowance.left)) if tiles else None
        if picture:
            allowance.spend(len(picture.uri))
            return RealImages(picture, source)
    return None


def _above_reconstructions(run: Run) -> Iterable[Image.Image]:
    path = run.picture("reconstructions_final")
    picture = open_png(path) if path else None
    tiles = tiles_of(run, picture, "reconstruction_grid", rows_each=2) if picture else None
    return _cut(picture, tiles, range(0, tiles.rows, 2)) if picture and tiles else []


def _nearest(run: Run) -> Iterable[Image.Image]:
    """The lower of two rows; its tiles are taken to be square."""
    path = run.picture("nearest_train_final")
    picture = open_png(path) if path else None
    side = (picture.height - PADDING) // 2 if picture else 0
    if picture is None or side <= PADDING or not 0 < (picture.width - PADDING) // side <= MOST_TILES:
        return []
    return _cut(picture, Tiles((picture.width - PADDING) // side, 2, side, side), range(1, 2))


SOURCES: tuple[tuple[Callable[[Run], Iterable[Image.Image]], str], ...] = (  # the first that a run has
    (_above_reconstructions, "the first of val"),
    (_nearest, "of train: those that are nearest to samples"),
)


def _cut(picture: Image.Image, tiles: Tiles, rows: Iterable[int]) -> Iterator[Image.Image]:
    for row in rows:
        for column in range(tiles.columns):
            left, top = column * tiles.wide + PADDING, row * tiles.high + PADDING
            yield picture.crop((left, top, left + tiles.wide - PADDING, top + tiles.high - PADDING))


def mosaic(tiles: Sequence[Image.Image], most: int) -> Picture | None:
    """Images of one size as one picture, as many as a window shows."""
    columns, rows = SHOWN
    same = [tile for tile in tiles if tile.size == tiles[0].size][: columns * rows]
    wide, high = (side + PADDING for side in same[0].size)
    used = -(-len(same) // columns)
    picture = Image.new("RGB", (columns * wide + PADDING, used * high + PADDING), "white")
    for index, tile in enumerate(same):
        picture.paste(tile, (index % columns * wide + PADDING, index // columns * high + PADDING))
    window = Window(1, picture.width / picture.height)
    return embedded(picture, "Real images", f"{len(same)} real images", window, LARGEST_PICTURE, most)

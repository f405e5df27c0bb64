"""Pictures of a run: where each lies in its folder, and where in a picture the images of a grid are.

A picture is called by its kind, which is a folder in `pictures/`, and the stage of the run that it shows. The PNG file
of a grid says in its metadata where the images lie, for titles and labels stand around them.
"""

import json
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .layout import PICTURES

FINAL = "final"  # the stage of the model that was tested
FIXED = "samples_fixed"  # the kind that shows progress: samples whose latents are the same at every time
NEAREST_TRAIN = "nearest_train"
CHARTS = "charts"  # the kind of those that are drawn once a run: curves, bars
ANIMATION = "training.webp"
EPOCH = re.compile(r"epoch_(\d{1,7})")
NAME = re.compile(rf"(\w+)_({EPOCH.pattern}|{FINAL})")
MOST_FILES = 10_000  # in a folder of pictures
PADDING = 2  # pixels of white between images, and around them
MOST_IMAGES = 10_000  # in a grid
# What Pillow says of damaged files.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
GRID, TITLE = "Grid", "Title"  # keys of the metadata


class Grid(NamedTuple):
    """Where the images of a picture lie: pixels, from the upper left."""

    left: int
    top: int
    columns: int
    rows: int
    width: int  # of an image
    height: int
    step_x: int  # from one image to the next
    step_y: int


def epoch_stage(epoch: int) -> str:
    """The stage of a run after an epoch, counted from 1."""
    return f"epoch_{epoch:04d}"


def picture_file(run_dir: Path, kind: str, stage: str) -> Path:
    """Where a picture is written."""
    return run_dir / PICTURES / kind / f"{stage}.png"


def kind_and_stage(name: str) -> tuple[str, str]:
    """`samples_fixed_epoch_0010` to samples_fixed and epoch_0010. Raises ValueError for a name without a stage."""
    found = NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} names no stage of a run, as {FIXED}_{FINAL} does")
    return found[1], found[2]


def find_picture(run_dir: Path, kind: str, stage: str) -> Path | None:
    """A picture that is there; also one of an earlier version's run, whose pictures all lie in one folder."""
    places = (picture_file(run_dir, kind, stage), run_dir / PICTURES / f"{kind}_{stage}.png")
    return next((path for path in places if path.is_file()), None)


def pictures_by_epoch(run_dir: Path, kind: str) -> dict[int, Path]:
    """The pictures of a kind that were drawn while the run was trained, by their epochs, which ascend."""
    found: dict[int, Path] = {}
    for folder, prefix in ((run_dir / PICTURES, f"{kind}_"), (run_dir / PICTURES / kind, "")):
        with suppress(OSError):
            for path in islice(folder.iterdir(), MOST_FILES):
                stage = EPOCH.fullmatch(path.stem.removeprefix(prefix))
                if stage and path.suffix == ".png" and path.stem.startswith(prefix):
                    found[int(stage[1])] = path
    return dict(sorted(found.items()))


def metadata(title: str, grid: Grid | None) -> PngInfo:
    """What the PNG file of a picture says of it."""
    said = PngInfo()
    said.add_itxt(TITLE, title.encode(errors="replace").decode())  # names of folders may be no text
    if grid is not None:
        said.add_text(GRID, json.dumps(grid))
    return said


def grid_of(picture: Image.Image) -> Grid | None:
    """Where a picture's file says that its images lie; None where it says nothing that can be."""
    with suppress(ValueError, TypeError, RecursionError):
        grid = Grid(*json.loads(str(picture.info.get(GRID))))
        if is_inside(grid, picture):
            return grid
    return None


def is_inside(grid: Grid, picture: Image.Image) -> bool:
    if any(type(value) is not int or value < 0 for value in grid):
        return False
    left, top, columns, rows, width, height, step_x, step_y = grid
    right, bottom = left + (columns - 1) * step_x + width, top + (rows - 1) * step_y + height
    fits = right <= picture.width and bottom <= picture.height
    apart = step_x >= width + PADDING and step_y >= height + PADDING
    return fits and apart and min(width, height, columns, rows) > 0 and columns * rows <= MOST_IMAGES


def bare_grid(picture: Image.Image) -> Image.Image:
    """The images of a picture alone, `PADDING` of white between and around them; a picture that tells of none whole."""
    grid = grid_of(picture)
    if grid is None:
        return picture
    wide, high = grid.width + PADDING, grid.height + PADDING
    size = (grid.columns * wide + PADDING, grid.rows * high + PADDING)
    bare = Image.new(picture.mode, size, "white")
    for index in range(grid.columns * grid.rows):
        row, column = divmod(index, grid.columns)
        left, top = grid.left + column * grid.step_x, grid.top + row * grid.step_y
        image = picture.crop((left, top, left + grid.width, top + grid.height))
        bare.paste(image, (column * wide + PADDING, row * high + PADDING))
    return bare

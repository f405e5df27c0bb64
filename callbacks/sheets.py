"""Sheets: images in a grid, with title, labels and captions around them; the images' own pixels stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont, truetype
from torch import Tensor
from torch.nn.functional import pad
from torchvision.utils import make_grid

from datamodules.pixels import to_uint8
from run_folder.pictures import PADDING, Grid

SMALLEST_TILE = 48  # pixels; smaller images are enlarged by a whole factor, so that they can be seen
NARROWEST = 300  # pixels; a title is not broken up over a grid of few columns
USUAL = 660  # pixels of width, for which sizes of text are; over wider sheets it grows
WIDEST_LABEL = 120  # pixels, of a row
LINES = 2  # at most, of a label above a column
INK, FAINT = "#1a1a1a", "#555555"
BETWEEN = " · "  # what parts the facts of a line


@dataclass(frozen=True)
class Block:
    """Images (B, C, H, W) in [0, 1], row by row, and what is said of them."""

    images: Tensor
    columns: int
    heading: str = ""
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    captions: Sequence[str] = ()  # below each image

    @property
    def rows(self) -> int:
        return -(-len(self.images) // self.columns)


@dataclass(frozen=True)
class Sheet:
    """What one picture shows."""

    title: str
    blocks: Sequence[Block]
    note: str = ""
    told_rows: int | None = None  # rows of the first block that its file says are its grid; None: all
    facts: Sequence[str] = ()  # lines: of what run, and when


class Drawn(NamedTuple):
    picture: Image.Image
    grid: Grid


def tile(images: Tensor, columns: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] to one picture, uint8 (3, H', W'), row by row."""
    factor = enlargement(images)
    enlarged = images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    grid = make_grid(enlarged.float().cpu(), nrow=columns, padding=PADDING, pad_value=1.0)
    if len(images) == 1:  # of which torchvision makes no grid
        grid = pad(grid, [PADDING] * 4, value=1.0)
    return to_uint8(grid)


def enlargement(images: Tensor) -> int:
    return -(-SMALLEST_TILE // images.shape[-2])


def row_pairs(above: Tensor, below: Tensor, columns: int) -> Tensor:
    """Two sets of images (B, C, H, W), each row of the one over its row of the other: (B', C, H, W), row by row.

    A last row that is not full is filled up with white.
    """
    white = torch.ones_like(above[:1]).expand(-len(above) % columns, -1, -1, -1)
    rows = [torch.cat([images, white.to(images)]).split(columns) for images in (above, below)]
    return torch.cat([row for pair in zip(*rows, strict=True) for row in pair])


def draw_sheet(sheet: Sheet) -> Drawn:
    """The picture of a sheet, and where the grid of its first block lies."""
    return _Drawing(sheet).drawn()


@cache
def font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


class _Drawing:
    """A sheet from above to below: what is drawn is kept, until it is known how high it all is."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        first = sheet.blocks[0].images
        factor = enlargement(first)
        self.tile_width, self.tile_height = factor * first.shape[-1], factor * first.shape[-2]
        self.step = self.tile_width + PADDING
        across = max(block.columns for block in sheet.blocks) * self.step + PADDING
        self.scale = max(1.0, across / USUAL)
        self.gutter = self._gutter()
        self.width = max(self.gutter + across, NARROWEST)
        self.texts: list[tuple[float, float, str, FreeTypeFont, str, str]] = []  # x, y, text, font, colour, anchor
        self.strips: list[tuple[int, int, Image.Image]] = []
        self.grids: list[Grid] = []
        self.y = 0

    def size(self, pixels: int) -> int:
        return round(pixels * self.scale)

    def _gutter(self) -> int:
        """Pixels at the left for the labels of rows."""
        labels = [self._row_label(label) for block in self.sheet.blocks for label in block.row_labels]
        widest = max((font(self.size(11)).getlength(label) for label in labels), default=0)
        return round(widest) + self.size(8) if widest else 0

    def _row_label(self, label: str) -> str:
        return cut(on_one_line(label), font(self.size(11)), self.size(WIDEST_LABEL))

    def drawn(self) -> Drawn:
        self.y = self.size(5)
        self._lines(self.sheet.title, font(self.size(14), bold=True), INK)
        for facts in self.sheet.facts:
            self._lines(facts, font(self.size(12)), FAINT, BETWEEN)
        self.y += self.size(3)
        for block in self.sheet.blocks:
            self._block(block)
        if self.sheet.note:
            self.y += self.size(3)
            self._lines(self.sheet.note, font(self.size(11)), FAINT)
            self.y += self.size(4)
        picture = Image.new("RGB", (self.width, self.y), "white")
        for left, top, strip in self.strips:
            picture.paste(strip, (left, top))
        pen = ImageDraw.Draw(picture)
        for x, y, text, typeface, colour, anchor in self.texts:
            pen.text((x, y), text, fill=colour, font=typeface, anchor=anchor)
        grid = self.grids[0]
        return Drawn(picture, grid._replace(rows=self.sheet.told_rows or grid.rows))

    def _lines(self, text: str, typeface: FreeTypeFont, colour: str, between: str = " ") -> None:
        for line in wrapped(text, typeface, self.width - 8, between):
            self.texts.append((4, self.y, line, typeface, colour, "la"))
            self.y += round(typeface.size * 1.35)

    def _block(self, block: Block) -> None:
        if block.heading:
            self.y += self.size(6)
            self._lines(block.heading, font(self.size(12)), INK)
            self.y += self.size(2)
        self._column_labels(block)
        left, top, across = self.gutter + PADDING, self.y + PADDING, self.step
        down = self.tile_height + PADDING + (self.size(15) if block.captions else 0)
        self.grids.append(Grid(left, top, block.columns, block.rows, self.tile_width, self.tile_height, across, down))
        for row, images in enumerate(block.images.split(block.columns)):
            self.strips.append((self.gutter, self.y, as_image(tile(images, block.columns))))
            middle, below = self.y + PADDING + self.tile_height / 2, self.y + self.tile_height + self.size(4)
            for label in block.row_labels[row : row + 1]:
                self._text(self.gutter - self.size(4), middle, self._row_label(label), 11, INK, "rm")
            for column, caption in enumerate(block.captions[row * block.columns : (row + 1) * block.columns]):
                self._text(self._middle_of(column), below, caption, 10, FAINT, "ma")
            self.y += down
        self.y += PADDING

    def _text(self, x: float, y: float, text: str, size: int, colour: str, anchor: str) -> None:
        self.texts.append((x, y, text, font(self.size(size)), colour, anchor))

    def _middle_of(self, column: int) -> float:
        return self.gutter + PADDING + column * self.step + self.tile_width / 2

    def _column_labels(self, block: Block) -> None:
        labels = [shortened(label, font(self.size(10)), self.tile_width) for label in block.column_labels]
        high = max(map(len, labels), default=0)
        for column, lines in enumerate(labels):
            for place, line in enumerate(lines, start=high - len(lines)):
                self._text(self._middle_of(column), self.y + place * self.size(12), line, 10, INK, "ma")
        self.y += high * self.size(12) + (self.size(1) if high else 0)


def as_image(picture: Tensor) -> Image.Image:
    """uint8 (C, H, W) as Pillow has it."""
    return Image.fromarray(picture.permute(1, 2, 0).squeeze(2).numpy())  # (H, W, 3), or (H, W) in grey


def wrapped(text: str, typeface: FreeTypeFont, width: float, between: str = " ") -> list[str]:
    """Text in lines that are not wider, broken where it says `between`; a word that is wider stands alone."""
    lines: list[str] = []
    for part in on_one_line(text).split(between):
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and typeface.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return [cut(line, typeface, width) for line in lines]


def on_one_line(text: str) -> str:
    return " ".join(text.split())  # Pillow measures no text of several lines


def shortened(label: str, typeface: FreeTypeFont, width: float) -> list[str]:
    """A label in two lines at most."""
    lines = wrapped(label.replace("_", " "), typeface, width)
    rest = " ".join(lines[LINES - 1 :])
    return [*lines[: LINES - 1], cut(rest, typeface, width)] if len(lines) > LINES else lines


def cut(text: str, typeface: FreeTypeFont, width: float) -> str:
    """What of a text there is room for, with an ellipsis where that is not all."""
    if typeface.getlength(text) <= width:
        return text
    while text and typeface.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"

"""Pictures of the page: images in rows, enlarged so that pixels stay squares, and which of them was clicked."""

from collections.abc import Mapping, Sequence
from io import BytesIO

import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from callbacks.sheets import SMALLEST_TILE, tile

SIDE = 112  # pixels of an enlarged image, at least; the browser scales it down smoothly
PADDING = 2  # between tiles, as `tile` has it
FRAME = 7  # pixels of a mark's line


def enlarged(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W), by a whole factor, to at least `side` pixels, and so that `tile` enlarges them no more."""
    factor = -(-max(side, SMALLEST_TILE) // images.shape[-2])
    return images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def sheet(images: Tensor, columns: int, marks: Mapping[int, str] | None = None, side: int = SIDE) -> Image.Image:
    """Images (N, C, H, W) in [0, 1], row by row; `marks` are frames around some, by their number, in a colour."""
    large = enlarged(images, side)
    columns = min(columns, len(images))
    grid = tile(large, columns)
    if len(images) == 1:
        grid = grid[:, PADDING:-PADDING, PADDING:-PADDING]  # of one image there is nothing to part
    picture = Image.fromarray(grid.permute(1, 2, 0).numpy())
    pen = ImageDraw.Draw(picture)
    height, width = large.shape[-2:]
    for index, colour in (marks or {}).items():
        left = PADDING + (index % columns) * (width + PADDING)
        top = PADDING + (index // columns) * (height + PADDING)
        pen.rectangle((left, top, left + width - 1, top + height - 1), outline=colour, width=FRAME)
    return picture


def single(image: Tensor) -> Image.Image:
    """One image (1, C, H, W), large."""
    return sheet(image, 1, side=256)


def index_at(x: int, y: int, count: int, columns: int, picture: tuple[int, int]) -> int:
    """Which of `count` images in a sheet of so many columns and pixels, (width, height), a point is on."""
    columns = min(columns, count)
    rows = -(-count // columns)
    column = min(max(x * columns // picture[0], 0), columns - 1)
    row = min(max(y * rows // picture[1], 0), rows - 1)
    return min(row * columns + column, count - 1)


def scatter(points: Tensor, labels: Sequence[str], names: Sequence[str], axes: Sequence[str]) -> Image.Image:
    """Points (N, 2), in a colour for each of the named classes."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    plot = figure.subplots()
    for name in names:
        of_class = points[[index for index, label in enumerate(labels) if label == name]]
        plot.scatter(of_class[:, 0], of_class[:, 1], s=6, label=name, linewidths=0)
    plot.set_xlabel(axes[0])
    plot.set_ylabel(axes[1])
    if 1 < len(names) <= 20:
        plot.legend(frameon=False, markerscale=3, ncols=2, fontsize=8)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return Image.open(buffer).convert("RGB")


def difference(image: Tensor, again: Tensor) -> tuple[Tensor, float]:
    """Where two images differ, white where they do most, (1, C, H, W) in [0, 1]; and the root of its mean square."""
    gap = (image - again).abs()
    return gap, float(torch.linalg.vector_norm(gap) / gap.numel() ** 0.5)

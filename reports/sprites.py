"""Sprites: the images of a grid without gaps, as small as they are, of which the page draws what is asked for."""

import numpy as np
from PIL import Image

from .pictures import PADDING, SHOWN, Tiles
from .runs import Run


def sprite_of(samples: Image.Image, tiles: Tiles, run: Run) -> tuple[Image.Image, int, int]:
    """The first rows of a grid of samples without gaps, at the size that the images have; its columns and rows.

    All columns where each is a class, else as many as are seen before a grid is opened.
    """
    columns = tiles.columns if run.knows_classes else min(tiles.columns, SHOWN[0])
    rows = min(tiles.rows, SHOWN[1])
    pixels = np.asarray(samples)
    high, wide = tiles.high - PADDING, tiles.wide - PADDING
    cut = [
        [
            pixels[top : top + high, left : left + wide]
            for left in range(PADDING, PADDING + columns * tiles.wide, tiles.wide)
        ]
        for top in range(PADDING, PADDING + rows * tiles.high, tiles.high)
    ]
    together = np.concatenate([np.concatenate(row, axis=1) for row in cut], axis=0)
    factor = enlargement(together, high, wide)
    return Image.fromarray(np.ascontiguousarray(together[::factor, ::factor])), columns, rows


def enlargement(pixels: np.ndarray, high: int, wide: int) -> int:
    """The largest whole factor by which every tile of so many pixels may have been enlarged; 1: by none."""
    for factor in range(min(high, wide), 1, -1):
        if high % factor == 0 and wide % factor == 0:
            small = pixels[::factor, ::factor]
            if np.array_equal(small.repeat(factor, axis=0).repeat(factor, axis=1), pixels):
                return factor
    return 1

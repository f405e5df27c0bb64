"""A run's animation of training, made small enough for the page."""

import io
from pathlib import Path

from PIL import Image, ImageSequence

from .pictures import MOST_PIXELS, Picture, Window, data_uri

SIDES = (400, 300, 220)  # pixels, each tried in turn
MOST_FRAMES = 60
QUALITY = 60  # of WebP


def animated(path: Path, alt: str, most: int) -> Picture | None:
    """A WebP animation as a data URI of at most so many bytes. Raises one of DAMAGED."""
    with Image.open(path, formats=["WEBP"]) as opened:
        count = getattr(opened, "n_frames", 1)
        if opened.width * opened.height * count > 4 * MOST_PIXELS:
            raise ValueError(f"{count} frames of {opened.width}x{opened.height} pixels")
        if path.stat().st_size * 4 / 3 < most - 100:
            return Picture("", alt, data_uri(path.read_bytes()), *opened.size, Window(1, 1))
        step = -(-count // MOST_FRAMES)
        timed = [(frame.convert("RGB"), frame.info.get("duration", 200)) for frame in ImageSequence.Iterator(opened)]
    kept = [*timed[:-1:step], timed[-1]]
    for side in SIDES:
        frames = [frame.copy() for frame, _ in kept]
        for frame in frames:
            frame.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        durations = [int(duration) for _, duration in kept]
        frames[0].save(
            file, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, quality=QUALITY
        )
        uri = data_uri(file.getvalue())
        if len(uri) <= most:
            return Picture("", alt, uri, *frames[0].size, Window(1, 1))
    return None

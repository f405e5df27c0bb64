"""A run's training as one animation: the samples from its fixed latents, one after the other."""

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from foundation.atomic import write_atomically
from foundation.errors import UserError
from run_folder.layout import PICTURES
from run_folder.pictures import ANIMATION, FIXED, UNREADABLE, pictures_by_epoch

LARGEST = 2_000_000  # bytes of the file
WIDEST = 800  # pixels; wider pictures are made smaller
SECONDS, SHORTEST, LONGEST = 8.0, 0.1, 0.5  # of the whole, and of each frame
LAST = 2.0  # seconds that the last frame stays
ENCODINGS: tuple[dict[str, Any], ...] = ({"lossless": True}, *({"quality": one} for one in (85, 70, 50)))  # best first


class Animation(Callback):
    """Writes `pictures/training.webp` when training ends, also before its time: at most `frames` of the pictures.

    They are those in the run folder, of all parts of a run that was resumed; with fewer than two there is none.
    """

    def __init__(self, frames: Annotated[int, Interval(ge=2, le=1000)]) -> None:
        self.frames = frames

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, trainer.current_epoch)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            with suppress(OSError, MemoryError, UserError):  # what has ended the training is told, not this
                self._write(trainer, trainer.current_epoch + 1)

    def _write(self, trainer: Trainer, epochs: int) -> None:
        run_dir = Path(trainer.default_root_dir)
        if not trainer.is_global_zero:
            return
        pictures = pictures_by_epoch(run_dir, FIXED)
        own = [path for epoch, path in pictures.items() if epoch <= epochs]  # a run that went on here may have others
        frames = on_one_canvas(list(opened(own, self.frames)))
        if len(frames) > 1:
            content = encoded(frames)
            write_atomically(run_dir / PICTURES / ANIMATION, lambda partial: partial.write_bytes(content))


def opened(paths: Sequence[Path], most: int) -> Iterator[Image.Image]:
    """Pictures that are spread evenly over all, the first and the last among them; damaged ones are passed over."""
    count = min(most, len(paths))
    for place in range(count):
        path = paths[round(place * (len(paths) - 1) / max(1, count - 1))]
        with suppress(*UNREADABLE), Image.open(path, formats=["PNG"]) as picture:
            frame = picture.convert("RGB")
            frame.thumbnail((WIDEST, frame.height), Image.Resampling.LANCZOS)
            yield frame


def on_one_canvas(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames of one size. Grids end where their pictures end, below: so they lie in one place, whatever is above."""
    width, height = (max((frame.size[side] for frame in frames), default=0) for side in (0, 1))
    canvases = []
    for frame in frames:
        canvas = Image.new("RGB", (width, height), "white")
        canvas.paste(frame, (0, height - frame.height))
        canvases.append(canvas)
    return canvases


def encoded(frames: Sequence[Image.Image]) -> bytes:
    """An animated WebP of at most `LARGEST` bytes, repeated for ever: as exact as that allows, or of fewer frames."""
    while len(frames) > 2:
        for encoding in ENCODINGS:
            if len(frames) * len(webp(frames[-1:], encoding)) <= LARGEST:  # before all of them are tried
                content = webp(frames, encoding)
                if len(content) <= LARGEST:
                    return content
        frames = frames[::-2][::-1]  # with the last one
    return webp(frames, ENCODINGS[-1])


def webp(frames: Sequence[Image.Image], encoding: dict[str, Any]) -> bytes:
    each = round(1000 * min(LONGEST, max(SHORTEST, SECONDS / len(frames))))  # milliseconds
    durations = [each] * (len(frames) - 1) + [round(1000 * LAST)]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, **encoding)
    return file.getvalue()

"""Pictures as PNG files in the run folder and in the trackers."""

from dataclasses import replace
from pathlib import Path

from lightning import LightningModule, Trainer
from torch import Tensor

from foundation.atomic import write_atomically
from lightning_modules.foreign import clock_of
from run_folder.pictures import metadata, picture_file
from trackers.pictures import log_picture

from .run_facts import run_facts
from .sheets import Drawn, Sheet, as_image, draw_sheet


def save_png(path: Path, picture: Tensor) -> None:
    """Write a picture, uint8 (C, H, W), as a PNG file."""
    write_atomically(path, lambda partial: as_image(picture).save(partial))


def save_sheet(path: Path, sheet: Sheet) -> Drawn:
    """Draw a sheet into a PNG file, whose metadata says what it shows and where."""
    drawn = draw_sheet(sheet)
    title = " – ".join([sheet.title, *sheet.facts])
    write_atomically(path, lambda partial: drawn.picture.save(partial, pnginfo=metadata(title, drawn.grid)))
    return drawn


def show_sheet(trainer: Trainer, module: LightningModule, kind: str, stage: str, sheet: Sheet) -> None:
    """Put a sheet, with what is known of the run, into the run folder, `<kind>/<stage>.png`, and to the trackers."""
    if not trainer.is_global_zero:
        return
    sheet = replace(sheet, facts=run_facts(trainer, module))
    path = picture_file(Path(trainer.default_root_dir), kind, stage)
    save_sheet(path, sheet)
    log_picture(trainer.loggers, kind, path, clock_of(module))

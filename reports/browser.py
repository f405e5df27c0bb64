"""Samples to be looked through side by side: by seed, epoch and class, with what a run leaves beside its samples.

That is the training images nearest to samples, how often each class is drawn, and the animation of training.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from run_folder.pictures import FINAL, FIXED, NEAREST_TRAIN, epoch_stage, pictures_by_epoch

from .allowance import Allowance
from .animations import animated
from .charts import colour_of
from .formatting import percent
from .models import Model
from .pictures import DAMAGED, LinkedPicture, Picture, Window, embedded, open_png, picture_of, tiles_of
from .runs import Run
from .sprites import sprite_of

TESTED = "tested"  # the stage of the model that was tested, the last
MODELS = 4  # at most
EXTENTS = ((5, 6), (5, 4), (3, 4), (3, 2), (2, 1), (1, 1), (1, 0))  # seeds, and epochs of each besides the tested model
MOST_CLASSES = 20
SIDE = 640  # pixels
NEAREST_SIDE = 560  # pixels
SHARE, SHARE_OF_NEAREST, SHARE_OF_ANIMATIONS = 0.55, 0.3, 0.4  # of what the pictures before have left


class Frame(NamedTuple):
    """One run's samples at one stage of its training."""

    seed: str
    stage: str  # an epoch, or TESTED
    picture: Picture
    columns: int  # of its tiles, which lie without a gap between them; 0: they are not known
    rows: int


class Bar(NamedTuple):
    """How often a class is drawn, and how often it is there."""

    name: str
    generated: float
    real: float
    text: str


class SeedDetails(NamedTuple):
    """What there is of one run besides its samples."""

    seed: str
    nearest: Picture | LinkedPicture | None
    bars: list[Bar]


class Reel(NamedTuple):
    """What there is of one model, its tested model's first seed first."""

    name: str
    colour: str
    classes: list[str]  # of the columns of its samples; none where it knows no classes
    frames: list[Frame]
    details: list[SeedDetails]
    animation: Picture | LinkedPicture | None  # of the first seed


class Browser(NamedTuple):
    reels: list[Reel]
    seeds: list[str]
    stages: list[str]
    classes: list[str]


def browser_of(models: Sequence[Model], shown: Sequence[str], allowance: Allowance) -> Browser | None:
    """Of the models with these names; None where there are no samples that can be read."""
    chosen = [model for model in models if model.name in shown and model.finished][:MODELS]
    extent = extent_of(chosen, allowance.each(1, SHARE))
    frames = [frames_of(model, extent, allowance) for model in chosen]
    most = allowance.each(sum(len(runs_of(model, extent)) for model in chosen), SHARE_OF_NEAREST)
    details = [[details_of(run, allowance, most) for run in runs_of(model, extent)] for model in chosen]
    most = allowance.each(len(chosen), SHARE_OF_ANIMATIONS)
    reels = [
        Reel(
            model.name,
            colour_of(models.index(model)),
            classes_of(model),
            own,
            about,
            animation_of(model, allowance, most),
        )
        for model, own, about in zip(chosen, frames, details, strict=True)
        if own
    ]
    if not reels:
        return None
    seeds = list(dict.fromkeys(frame.seed for reel in reels for frame in reel.frames))
    stages = {frame.stage for reel in reels for frame in reel.frames}
    epochs = sorted(map(int, stages - {TESTED}))
    classes = list(dict.fromkeys(name for reel in reels for name in reel.classes))
    return Browser(reels, seeds, [*map(str, epochs), *([TESTED] if TESTED in stages else [])], classes)


def runs_of(model: Model, extent: tuple[int, int]) -> list[Run]:
    """One of each seed."""
    by_seed = {run.seed: run for run in reversed(model.finished) if run.seed is not None}
    return [by_seed[seed] for seed in sorted(by_seed)][: extent[0]] or model.finished[:1]


def extent_of(models: Sequence[Model], most: int) -> tuple[int, int]:
    """Of how many seeds and epochs there is room for pictures, by what the tested models' take."""
    sizes = [len(frame.picture.uri) for model in models for frame in frames_of(model, (1, 0), Allowance(most))]
    if not sizes:
        return EXTENTS[0]
    for extent in EXTENTS:
        count = sum(len(stages_of(run, extent)) for model in models for run in runs_of(model, extent))
        if count * sum(sizes) / len(sizes) <= most:
            return extent
    return EXTENTS[-1]


def frames_of(model: Model, extent: tuple[int, int], allowance: Allowance) -> list[Frame]:
    """Samples of the model's seeds, each at epochs that are spread over its training; the tested model's come first."""
    frames = []
    for run in runs_of(model, extent):
        for stage, name in stages_of(run, extent):
            frame = frame_of(run, stage, name, allowance)
            if frame is not None:
                frames.append(frame)
                allowance.spend(len(frame.picture.uri))
    return frames


def frame_of(run: Run, stage: str, name: str, allowance: Allowance) -> Frame | None:
    path = run.picture(name)
    with suppress(*DAMAGED):
        if path is not None:
            samples = open_png(path)
            tiles = tiles_of(run, samples, "sample_grid")
            sprite, columns, rows = sprite_of(samples, tiles, run) if tiles else (samples, 0, 0)
            alt = f"Samples of seed {run.seed}, {stage_in_words(stage)}"
            picture = embedded(sprite, "", alt, Window(1, 1), SIDE, allowance.left)
            return Frame(str(run.seed), stage, picture, columns, rows) if picture else None
    return None


def stage_in_words(stage: str) -> str:
    return "tested model" if stage == TESTED else f"epoch {stage}"


def stages_of(run: Run, extent: tuple[int, int]) -> list[tuple[str, str]]:
    """Stages with their pictures' names: the tested model, then epochs."""
    epochs = [(str(epoch), name) for epoch, name in spread(epochs_of(run), extent[1])]
    return [(TESTED, f"{FIXED}_{FINAL}"), *epochs]


def epochs_of(run: Run) -> list[tuple[int, str]]:
    """The epochs after which samples were drawn, each with its picture's name."""
    return [(epoch, f"{FIXED}_{epoch_stage(epoch)}") for epoch in pictures_by_epoch(run.folder, FIXED)]


def spread(epochs: Sequence[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """So many of them at most, the first and the last among these."""
    if len(epochs) <= most:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(index * last / max(most - 1, 1))] for index in range(most)]


def classes_of(model: Model) -> list[str]:
    """The class of each column of the model's samples; none where it knows no classes."""
    run = model.first
    columns = run.config.get("callbacks.sample_grid.columns") if run and run.knows_classes else None
    if run is None or type(columns) is not int or not run.class_names:
        return []
    return [run.class_names[column % len(run.class_names)] for column in range(columns)]


def details_of(run: Run, allowance: Allowance, most: int) -> SeedDetails:
    alt = f"Samples of seed {run.seed} above the training images nearest to them"
    nearest = picture_of(
        run, f"{NEAREST_TRAIN}_{FINAL}", f"seed {run.seed}", alt, allowance, most, NEAREST_SIDE, whole=True
    )
    return SeedDetails(str(run.seed), nearest, bars_of(run))


def bars_of(run: Run) -> list[Bar]:
    """The classes of generated and of real images, as the reference classifier sees them."""
    generated, real = run.classes.get("generated", {}), run.classes.get("real", {})
    bars = []
    for name, share in list(generated.items())[:MOST_CLASSES]:
        text = f"{percent(round(share, 3))} / {percent(round(real.get(name, 0.0), 3))}"
        bars.append(Bar(name, share, real.get(name, 0.0), text))
    return bars


def animation_of(model: Model, allowance: Allowance, most: int) -> Picture | LinkedPicture | None:
    """The first seed's training as an animation that takes no more than so many bytes, or a link to it."""
    run = model.first
    path = run.animation if run else None
    with suppress(*DAMAGED):
        if path is not None:
            alt = f"Samples of {model.name} in the course of training, from the same latents"
            picture = animated(path, alt, min(most, allowance.left))
            allowance.spend(len(picture.uri) if picture else 0)
            return picture or LinkedPicture(f"Training of {model.name}", path)
    return None

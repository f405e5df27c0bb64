"""Figures: matplotlib's charts of classes and latents, as PNG files and on the dashboard."""

from collections.abc import Sequence
from pathlib import Path

from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from foundation.atomic import write_atomically
from lightning_modules.foreign import clock_of
from run_folder.judgements import INACTIVE_BELOW
from run_folder.pictures import CHARTS, picture_file
from trackers.pictures import log_picture

REAL, GENERATED, LEVEL = "#4477aa", "#cc6677", "#555555"  # colours: the first two are told apart by everybody


def show_figure(trainer: Trainer, module: LightningModule, name: str, figure: Figure) -> None:
    """Put a figure into the run folder as `charts/<name>.png` and to the trackers."""
    if not trainer.is_global_zero:
        return
    path = picture_file(Path(trainer.default_root_dir), CHARTS, name)
    save_figure(path, figure)
    log_picture(trainer.loggers, name, path, clock_of(module))


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file."""
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=110))


def titled(figure: Figure, title: str, facts: Sequence[str]) -> None:
    """Say above all panels what a figure shows, and of what run."""
    figure.suptitle("\n".join([title, *facts]), fontsize=10, x=0.01, ha="left")


def draw_classes(shares: dict[str, dict[str, float]], facts: Sequence[str] = ()) -> Figure:
    """Bars of the share of each class, for every source in {source: {class: share}}."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for place, (source, classes) in enumerate(shares.items()):
        offsets = [index + place * width for index in range(len(classes))]
        percent = [100 * share for share in classes.values()]
        axes.bar(offsets, percent, width, label=source, color=(REAL, GENERATED)[place % 2])
    middle = (len(shares) - 1) * width / 2
    names = [name if len(name) < 20 else f"{name[:18]}…" for name in classes]
    axes.set_xticks([index + middle for index in range(len(classes))], names, rotation=30, ha="right")
    axes.set_xlabel("class")
    axes.set_ylabel("images, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    titled(figure, "Classes, as the reference classifier sees them", facts)
    return figure


def draw_kl(kl: Tensor, facts: Sequence[str] = ()) -> Figure:
    """A bar for each latent dimension, the most used first."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(
        range(len(kl)),
        kl.sort(descending=True).values.tolist(),
        width=1.0,
        color=REAL,
        edgecolor="white",
        linewidth=0.3,
    )
    active = int((kl > INACTIVE_BELOW).sum())
    label = f"{INACTIVE_BELOW} nats: {active} of {len(kl)} are above, and count as active"
    axes.axhline(INACTIVE_BELOW, color=LEVEL, linestyle="--", linewidth=0.9, label=label)
    axes.set_ylim(0, max(1.05 * float(kl.max()), 5 * INACTIVE_BELOW))  # of next to nothing it shows next to nothing
    axes.set_xlabel("latent dimension, the most used first")
    axes.set_ylabel("KL, nats per image")
    axes.legend(frameon=False)
    titled(figure, "What each latent dimension tells about a test image", facts)
    return figure

"""Figures: matplotlib's charts of classes, latents and curves, as PNG files and on the dashboard."""

from pathlib import Path

from lightning import LightningModule, Trainer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from foundation.atomic import write_atomically
from lightning_modules.foreign import clock_of
from run_folder.layout import PICTURES
from trackers.pictures import log_picture

SMOOTHED_OVER = 50  # a curve of more points than this gets a running mean over its fiftieth part


def show_figure(trainer: Trainer, module: LightningModule, name: str, figure: Figure) -> None:
    """Put a figure into the run folder as `<name>.png` and to the trackers."""
    if not trainer.is_global_zero:
        return
    path = Path(trainer.default_root_dir) / PICTURES / f"{name}.png"
    save_figure(path, figure)
    log_picture(trainer.loggers, name, path, clock_of(module))


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG file."""
    write_atomically(path, lambda partial: figure.savefig(partial, dpi=110))


def draw_classes(shares: dict[str, dict[str, float]]) -> Figure:
    """Bars of the share of each class, for every source in {source: {class: share}}."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(shares)
    for place, (source, classes) in enumerate(shares.items()):
        offsets = [index + place * width for index in range(len(classes))]
        axes.bar(offsets, list(classes.values()), width, label=source)
    middle = (len(shares) - 1) * width / 2
    axes.set_xticks([index + middle for index in range(len(classes))], list(classes), rotation=30, ha="right")
    axes.set_ylabel("share of the images")
    axes.set_title("Classes, as the reference classifier sees them")
    axes.legend(frameon=False)
    return figure


def draw_kl(kl: Tensor) -> Figure:
    """A bar for each latent dimension, the most used first."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(kl)), kl.sort(descending=True).values.tolist(), width=1.0, edgecolor="white", linewidth=0.3)
    axes.set_xlabel("latent dimension, the most used first")
    axes.set_ylabel("KL, nats")
    axes.set_title("What each latent dimension tells about an image")
    return figure


def draw_curves(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """A panel for each quantity that is not always zero, losses first; train and val share a panel."""
    shown = [name for name, (_, values) in curves.items() if name.startswith(("train/", "val/")) and any(values)]
    quantities = sorted({name.split("/", 1)[1] for name in shown}, key=lambda name: ("loss" not in name, name))
    columns = min(3, max(1, len(quantities)))
    rows = max(1, -(-len(quantities) // columns))
    figure = Figure(figsize=(4.4 * columns, 3.1 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, quantity in zip(panels, quantities, strict=False):
        for split, colour in (("train", "#4477aa"), ("val", "#cc6677")):
            if f"{split}/{quantity}" in curves:
                _draw_curve(axes, *curves[f"{split}/{quantity}"], label=split, colour=colour)
        axes.set_title(quantity.replace("_", " "), fontsize=10)
        axes.set_xlabel("training images seen", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in panels[len(quantities) :]:
        axes.set_axis_off()
    return figure


def _draw_curve(axes: Axes, images_seen: list[int], values: list[float], label: str, colour: str) -> None:
    window = len(values) // SMOOTHED_OVER
    if window < 2:
        axes.plot(images_seen, values, label=label, color=colour, marker="." if len(values) < 30 else None)
        return
    axes.plot(images_seen, values, color=colour, alpha=0.25, linewidth=0.8)
    smooth = [sum(values[i - window : i]) / window for i in range(window, len(values) + 1)]
    axes.plot(images_seen[window - 1 :], smooth, label=f"{label} (mean of {window})", color=colour)

"""One figure of a run's curves, read from its metrics.csv."""

from collections import defaultdict
from pathlib import Path

from lightning import Callback, Trainer
from matplotlib.figure import Figure

from lightning_modules.image_model import ImageModel
from run_folder.curves import read_rows
from run_folder.layout import CURVES

from .pictures import show_figure

SMOOTHED_OVER = 50  # a curve of more points than this gets a running mean over its fiftieth part


class LossCurves(Callback):
    """Draws `pictures/loss_curves.png` when training ends: training and validation in one panel a quantity."""

    def on_fit_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if not trainer.is_global_zero or not (Path(trainer.default_root_dir) / CURVES).is_file():
            return
        figure = draw_curves(read_curves(Path(trainer.default_root_dir) / CURVES))
        show_figure(trainer, pl_module, "loss_curves", figure)


def read_curves(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """metrics.csv to {name: (images seen, values)}."""
    curves: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for images_seen, scalars in read_rows(path):
        for name, value in scalars.items():
            curves[name][0].append(images_seen)
            curves[name][1].append(value)
    return dict(curves)


def draw_curves(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """A panel for each quantity that is not always zero, losses first; train and val share a panel."""
    shown = [name for name, (_, values) in curves.items() if name.startswith(("train/", "val/")) and any(values)]
    quantities = sorted({name.split("/", 1)[1] for name in shown}, key=lambda name: ("loss" not in name, name))
    columns = min(3, max(1, len(quantities)))
    rows = max(1, -(-len(quantities) // columns))
    figure = Figure(figsize=(4.4 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, quantity in zip(axes, quantities, strict=False):
        for split, colour in (("train", "#4477aa"), ("val", "#cc6677")):
            if f"{split}/{quantity}" in curves:
                _draw_curve(axis, *curves[f"{split}/{quantity}"], label=split, colour=colour)
        axis.set_title(quantity.replace("_", " "), fontsize=10)
        axis.set_xlabel("training images seen", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes[len(quantities) :]:
        axis.set_axis_off()
    return figure


def _draw_curve(axis, images_seen: list[int], values: list[float], label: str, colour: str) -> None:
    window = len(values) // SMOOTHED_OVER
    if window < 2:
        axis.plot(images_seen, values, label=label, color=colour, marker="." if len(values) < 30 else None)
        return
    axis.plot(images_seen, values, color=colour, alpha=0.25, linewidth=0.8)
    smooth = [sum(values[i - window : i]) / window for i in range(window, len(values) + 1)]
    axis.plot(images_seen[window - 1 :], smooth, label=f"{label} (mean of {window})", color=colour)

"""One figure of a run's curves, read from its metrics.csv."""

from collections import defaultdict
from pathlib import Path

from lightning import Callback, Trainer

from foundation.progress import say
from lightning_modules.image_model import ImageModel
from run_folder.curves import CurvesError, read_rows
from run_folder.layout import CURVES

from .figures import draw_curves, show_figure


class LossCurves(Callback):
    """Draws `pictures/loss_curves.png` when training ends: training and validation in one panel a quantity."""

    def on_fit_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if not trainer.is_global_zero or not (Path(trainer.default_root_dir) / CURVES).is_file():
            return
        try:
            curves = read_curves(Path(trainer.default_root_dir) / CURVES)
        except CurvesError as error:  # no reason to lose the test of a trained model
            say(f"no loss_curves.png: {error}")
            return
        figure = draw_curves(curves)
        show_figure(trainer, pl_module, "loss_curves", figure)


def read_curves(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """metrics.csv to {name: (images seen, values)}. Raises CurvesError."""
    curves: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for images_seen, scalars in read_rows(path):
        for name, value in scalars.items():
            curves[name][0].append(images_seen)
            curves[name][1].append(value)
    return dict(curves)

"""One figure of a run's curves, read from its metrics.csv."""

from collections import defaultdict
from pathlib import Path

from lightning import Callback, Trainer

from lightning_modules.image_model import ImageModel
from lightning_modules.terms import Terms
from run_folder.curves import CurvesError, read_rows
from run_folder.layout import CURVES

from .curve_figure import draw_curves
from .figures import show_figure
from .run_facts import identity_in_words
from .score_callback import ScoreCallback
from .trainer_facts import callbacks_of, whole_epochs


class LossCurves(Callback):
    """Draws `pictures/charts/loss_curves.png` when training ends: training and validation in one panel a quantity."""

    def on_fit_end(self, trainer: Trainer, pl_module: ImageModel) -> None:
        if not trainer.is_global_zero or not (Path(trainer.default_root_dir) / CURVES).is_file():
            return
        try:
            curves = read_curves(Path(trainer.default_root_dir) / CURVES)
        except CurvesError as error:  # no reason to lose the test of a trained model
            print(f"no loss_curves.png: {error}")
            return
        length = f"{whole_epochs(trainer)} epochs, {pl_module.images_seen:,} training images"
        facts = [f"{identity_in_words(trainer, pl_module)} · {length}"]
        figure = draw_curves(curves, terms_of(trainer, pl_module), facts)
        show_figure(trainer, pl_module, "loss_curves", figure)


def terms_of(trainer: Trainer, model: ImageModel) -> Terms:
    """What is known of the terms of a model's steps, and of the scores of val."""
    scores = [callback.terms for callback in callbacks_of(trainer) if isinstance(callback, ScoreCallback)]
    return {name: term for known in (model.terms, *scores) for name, term in known.items()}


def read_curves(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """metrics.csv to {name: (images seen, values)}. Raises CurvesError."""
    curves: dict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    for images_seen, scalars in read_rows(path):
        for name, value in scalars.items():
            curves[name][0].append(images_seen)
            curves[name][1].append(value)
    return dict(curves)

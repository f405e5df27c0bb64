"""TensorBoard, in the order in which one reads: scores, losses, learning rates, gradient norms, the clock."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from .hparams import hparams_summaries
from .stores import shown, store_of
from .tensorboard_names import is_shown, layout, picture_tag, tag_of
from .tracker import Ending, TrackedRun, Tracker


class TensorBoardTracker(Tracker, TensorBoardLogger):
    """Writes events into the run folder itself, so that a run is called there like its folder.

    Its tags are those of metrics.csv in groups that are in the order of their names. HParams lists each run's model,
    network, data and seed, and the settings in which it differs from others, or `all` that decide its weights.
    """

    takes_files = False
    title = "tensorboard"
    name, version = "", ""

    def __init__(self, folder: str, hyperparameters: Literal["differing", "all"]) -> None:
        TensorBoardLogger.__init__(self, folder, name="", version="", default_hp_metric=False)
        self.has_history = False
        self._is_open = True  # as Lightning's, it begins with the first thing that is logged
        self._folder, self._hyperparameters = Path(folder), hyperparameters
        self._settings: dict[str, Any] = {}
        self._names: set[str] = set()  # of the scalars that have been logged
        self._last_clock = -1
        self._layout: object = None

    def _begin(self, run: TrackedRun) -> str | None:
        self.has_history = run.kept_id is not None and any(self._folder.glob("events.out.tfevents.*"))
        if run.images_seen is not None:  # what an earlier part of the run drew after the checkpoint is dropped
            self._kwargs["purge_step"] = run.images_seen + 1
        self._settings = {**run.differing, **(run.settings if self._hyperparameters == "all" else {})}
        return "events"

    @property
    def writer(self) -> SummaryWriter:
        return self.experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are written with the scores."""

    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None:
        for name, value in scalars.items():
            if not is_shown(name) or (name == "seconds" and images_seen == self._last_clock):
                continue
            self._names.add(name)
            self.writer.add_scalar(tag_of(name), value, images_seen)
        self._last_clock = images_seen if "seconds" in scalars else self._last_clock

    def _send_picture(self, name: str, path: Path, images_seen: int) -> None:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(picture_tag(name), pixels, images_seen, dataformats="HWC")

    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        columns = {tag_of(name): name.removeprefix("test/") for name in scores}
        for summary in hparams_summaries(self._settings, columns):
            self.writer._get_file_writer().add_summary(summary)

    def _send_file(self, path: Path) -> None:
        """It takes none."""

    def save(self) -> None:
        self._guard(self._save)

    def _save(self) -> None:
        charts = layout(self._names)
        if charts != self._layout:
            self.writer.add_custom_scalars(charts)
            self._layout = charts
        self.writer.flush()

    def finalize(self, status: str) -> None:
        self.save()

    def _close(self, ending: Ending) -> None:
        if self._experiment is not None:
            self._save()
            self._experiment.close()

    def how_to_look(self) -> str:
        return f"tensorboard --logdir {shlex.quote(shown(store_of(self._folder)))}"

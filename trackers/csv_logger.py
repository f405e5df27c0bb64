"""The logger of metrics.csv, which is a whole file at every time: the one before the latest epoch, or the one after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from torch import Tensor

from run_folder.curves import Row, add_rows


class CSVLogger(Logger):
    """Keeps scalars until it is asked to save them, as is done with every epoch and at the end.

    Lightning's own removes the file of an earlier part of a run before it has written anything, and writes in place.
    Here the first save replaces that file in one act, with all that has been logged by then.
    """

    name, version = "", ""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)
        self._is_new = True
        self._rows: list[Row] = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        assert step is not None, "scalars are logged against training images seen"
        self._rows.append((step, {name: float(value) for name, value in metrics.items()}))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def save(self) -> None:
        if self._rows:
            add_rows(self.path, self._rows, self._is_new)
            self._rows, self._is_new = [], False

    def finalize(self, status: str) -> None:
        self.save()

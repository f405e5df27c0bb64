"""After a sweep, its report: `report/index.html` in the sweep's folder."""

import atexit
import shlex
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from foundation.programs import program


class SweepReport(Callback):
    """Writes the report when all jobs have ended, and says where it is.

    Hydra does not call `on_multirun_end` if a job failed, or the sweep was stopped; the end of the program always
    comes. A report that fails does not fail its sweep: the error is printed in one line.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.config = config
        self.sweep_dir = Path(config.hydra.sweep.dir).resolve()
        atexit.register(self.report)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        atexit.unregister(self.report)
        self.report()

    def report(self) -> None:
        if not any(path.is_dir() for path in self.sweep_dir.glob("*")):  # no job was ever started
            return
        try:
            from reports import write_report  # what these need takes a while to import, and single runs do without
            from trackers.sweep import track_report

            page = write_report([self.sweep_dir])
            print(f"report: {page}", flush=True)
            track_report(self.config, self.sweep_dir, page)
        except Exception as error:
            again = shlex.join([*program("report"), str(self.sweep_dir)])
            print(f"no report: {error}. Try again with: {again}", flush=True)

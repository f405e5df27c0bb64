"""Trackio, on this disk alone: `trackio sync` shares a project of it."""

import os
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from annotated_types import MinLen

from .stores import shown, store_of
from .tracker import Ending, TrackedRun, Tracker

PLACE = "TRACKIO_DIR"


class TrackioTracker(Tracker):
    """Tracks a run with Trackio, in `trackio/` of the folder of the run or of the sweep that it is part of.

    TRACKIO_DIR in the environment names another place. The library looks at it once in a process.
    """

    library = extra = "trackio"

    def __init__(self, folder: Annotated[str, MinLen(1)], project: Annotated[str, MinLen(1)]) -> None:
        super().__init__()
        self._store, self._project = store_of(Path(folder)) / "trackio", project
        self._run: Any = None

    def _begin(self, run: TrackedRun) -> str:
        os.environ.setdefault(PLACE, str(self._store))
        from trackio.run import Run
        from trackio.sqlite_storage import SQLiteStorage

        class LocalRun(Run):  # type: ignore[misc, unused-ignore]
            def _get_username(self) -> None:
                """It would be asked of huggingface.co."""

        SQLiteStorage.init_db(self._project)
        kept = {str(known["id"]) for known in SQLiteStorage.get_run_records(self._project)}
        self.has_history = run.kept_id in kept
        self._run = LocalRun(
            url=None,
            project=self._project,
            client=None,
            name=run.name,
            run_id=run.kept_id if self.has_history else uuid4().hex,
            group=run.group,
            config={name: value for name, value in run.settings.items() if value is not None},
        )
        return str(self._run.id)

    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None:
        self._run.log(dict(scalars), step=images_seen)

    def _send_picture(self, name: str, path: Path, images_seen: int) -> None:
        import trackio

        self._run.log({f"pictures/{name}": trackio.Image(str(path), caption=f"{name}, {images_seen:,} images seen")},
                      step=images_seen)  # fmt: skip

    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        """They have been logged as scalars, and a run has no other place for them."""

    def _send_file(self, path: Path) -> None:
        self._run.log_artifact(path, name=path.parent.name, type="report")

    def _close(self, ending: Ending) -> None:
        with redirect_stdout(StringIO()):  # "please wait"
            self._run.finish()

    def how_to_look(self) -> str:
        place = shlex.quote(shown(Path(os.environ.get(PLACE, self._store))))
        return f"{PLACE}={place} trackio show --project {shlex.quote(str(self._project))}"

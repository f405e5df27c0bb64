"""Weights & Biases, offline unless it is told otherwise."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

from annotated_types import MinLen

from .stores import shown
from .tracker import Ending, TrackedRun, Tracker

CLOCK = "images_seen"  # the axis of all charts


class WandbTracker(Tracker):
    """Tracks a run with wandb: in the run folder's `wandb/`, or with `mode` of "online" also on its server.

    Of this machine it sends nothing: no host name, paths, command line, packages, console or use of its processors.
    """

    library = extra = "wandb"

    def __init__(
        self,
        folder: Annotated[str, MinLen(1)],
        project: Annotated[str, MinLen(1)],
        entity: Annotated[str, MinLen(1)] | None,
        mode: Literal["offline", "online"],
    ) -> None:
        super().__init__()
        self._folder, self._project, self._entity, self._mode = folder, project, entity, mode
        self._run: Any = None

    def _begin(self, run: TrackedRun) -> str:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # to its makers
        import wandb

        settings = wandb.Settings(
            console="off", silent=True, save_code=False, disable_git=True, disable_job_creation=True, host="",
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        self._run = wandb.init(
            project=self._project, entity=self._entity, mode=self._mode, dir=self._folder, settings=settings,
            id=run.kept_id or uuid4().hex[:8], resume="allow" if run.kept_id else None, name=run.name,
            group=run.group, config=dict(run.settings), allow_val_change=True, reinit="create_new",
        )  # fmt: skip
        self._run.define_metric(CLOCK, hidden=True)
        self._run.define_metric("*", step_metric=CLOCK)
        self.has_history = run.kept_id is not None
        return str(self._run.id)

    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None:
        self._run.log({**scalars, CLOCK: images_seen})

    def _send_picture(self, name: str, path: Path, images_seen: int) -> None:
        import wandb

        self._run.log({f"pictures/{name}": wandb.Image(str(path)), CLOCK: images_seen})

    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        self._run.summary.update({**scores, "protocols": protocols})

    def _send_file(self, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(path.parent.name, type="report")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)
        if path.suffix == ".html":
            self._run.log({path.parent.name: wandb.Html(str(path), inject=False)})

    def _close(self, ending: Ending) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)

    def _remedy(self) -> str:
        return "Log in with `wandb login`, or set logger.wandb.mode=offline"

    def how_to_look(self) -> str:
        if self._mode == "online":
            return str(self._run.url)
        return f"wandb sync {shlex.quote(shown(Path(self._folder).resolve()))}/wandb/offline-run-*"

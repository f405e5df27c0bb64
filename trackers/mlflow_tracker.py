"""MLflow: a server, or a database in the folder of the run or its sweep."""

import logging
import os
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from annotated_types import MinLen

from foundation.errors import ConfigError

from .stores import shown, store_of
from .tracker import Ending, TrackedRun, Tracker

PATIENCE = {  # a server that has gone would hold a run up for minutes at every point of its curves
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
AT_ONCE = 100  # parameters, at most
LONGEST = 500  # characters of a parameter, which every version takes


class MlflowTracker(Tracker):
    """Tracks a run with MLflow, at `tracking_uri` or, where that is null, where MLFLOW_TRACKING_URI says.

    Without both it keeps runs and pictures in `mlflow.db` and `mlartifacts/`, in the folder of the run or of the sweep
    that it is part of. Of this machine it sends nothing.
    """

    library = extra = "mlflow"

    def __init__(
        self,
        folder: Annotated[str, MinLen(1)],
        experiment: Annotated[str, MinLen(1)],
        tracking_uri: Annotated[str, MinLen(1)] | None,
    ) -> None:
        super().__init__()
        if tracking_uri is not None and urlsplit(tracking_uri).password is not None:
            raise ConfigError(
                "logger.mlflow.tracking_uri: a password in it would be kept in the run folder. Leave it away, and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        self._store, self._experiment = store_of(Path(folder)), experiment
        self._given_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._uri = self._given_uri or f"sqlite:///{self._store / 'mlflow.db'}"
        self._client: Any = None
        self._id = ""

    def _begin(self, run: TrackedRun) -> str:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        kept = self._found(run.kept_id) if run.kept_id else None
        self.has_history = kept is not None
        if kept is None:
            tags = {"group": run.group} if run.group else {}
            kept = self._client.create_run(self._experiment_id(), run_name=run.name, tags=tags)
        else:
            self._client.update_run(kept.info.run_id, status="RUNNING")
        self._id = str(kept.info.run_id)
        self._send_settings(run.settings, known=kept.data.params)
        return self._id

    def _found(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        if (found := self._client.get_experiment_by_name(self._experiment)) is None:
            place = None if self._given_uri else (self._store / "mlartifacts").as_uri()
            try:
                return str(self._client.create_experiment(self._experiment, artifact_location=place))
            except MlflowException:  # another job of the sweep was first
                found = self._client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _send_settings(self, settings: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """A parameter can't change; what a resumed run has otherwise, such as its length, is a tag."""
        from mlflow.entities import Param

        given = {allowed(name): str(value)[:LONGEST] for name, value in settings.items()}
        new = [Param(name, value) for name, value in given.items() if name not in known]
        for begin in range(0, len(new), AT_ONCE):
            self._client.log_batch(self._id, params=new[begin : begin + AT_ONCE])
        for name in known:
            if given.get(name, known[name]) != known[name]:
                self._client.set_tag(self._id, f"resumed with {name}", given[name])

    def _send_scalars(self, scalars: Mapping[str, float], images_seen: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, metrics=[Metric(allowed(name), value, now, images_seen) for name, value in scalars.items()]
        )

    def _send_picture(self, name: str, path: Path, images_seen: int) -> None:
        from PIL import Image

        with Image.open(path) as picture:
            self._client.log_image(self._id, picture.convert("RGB"), key=allowed(name), step=images_seen)

    def _send_scores(self, scores: Mapping[str, float], protocols: list[str]) -> None:
        self._client.set_tag(self._id, "protocols", " ".join(protocols))

    def _send_file(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), path.parent.name)

    def _close(self, ending: Ending) -> None:
        self._client.set_terminated(self._id, STATUS[ending])

    def _abandon(self) -> None:
        """To say so would take as long as what has failed."""

    def _remedy(self) -> str:
        return "Is the server of logger.mlflow.tracking_uri, or MLFLOW_TRACKING_URI, there? null keeps runs in a file"

    def how_to_look(self) -> str:
        if self._given_uri:
            return without_user(self._given_uri)
        store = f"sqlite:///{shown(self._store / 'mlflow.db')}"
        return shlex.join(["mlflow", "server", "--backend-store-uri", store])


def allowed(name: str) -> str:
    """A name of letters, digits and signs that MLflow takes."""
    return re.sub(r"[^\w.\- :/]", "_", name)


def without_user(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)

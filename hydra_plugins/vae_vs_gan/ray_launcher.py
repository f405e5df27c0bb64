"""`hydra/launcher=ray`: each job of a sweep is a task of Ray, on this machine's cores or on a cluster.

Not hydra-ray-launcher: its last release asks for a cloudpickle below 3, which current joblib, and with it scikit-learn,
does not work with; and it brings the client of one cloud along.
"""

import os
from collections.abc import Sequence
from typing import Annotated, get_type_hints

from annotated_types import Interval, MinLen
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from foundation.extras import require

QUIET = {  # in the environment, for Ray and what it starts; some of it is read as Ray is imported
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports to nobody
    "RAY_DEDUP_LOGS": "0",  # jobs print the same lines, each with the name of its job
    "RAY_COLOR_PREFIX": "0",
    "RAY_worker_niceness": "0",  # else jobs are less to the system than all else that runs
}


class RayLauncher(Launcher):
    """Hands jobs to Ray; `jobs/ray_jobs.py` does, this is what Hydra builds of the config."""

    hydra_context: HydraContext
    task_function: TaskFunction
    config: DictConfig

    def __init__(
        self,
        address: Annotated[str, MinLen(1)],
        n_jobs: Annotated[int, Interval(ge=1, le=65536)],
        cpus_per_job: Annotated[int, Interval(ge=1, le=65536)] | None,
        gpus_per_job: Annotated[float, Interval(ge=0, le=1024)] | None,
        max_retries: Annotated[int, Interval(ge=0, le=1000)],
    ) -> None:
        self.settings = {
            "address": address, "n_jobs": n_jobs, "cpus_per_job": cpus_per_job, "gpus_per_job": gpus_per_job,
            "max_retries": max_retries,
        }  # fmt: skip

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        require("hydra/launcher=ray", "ray", "ray")
        os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
        from jobs.ray_jobs import Sweep, launch  # here, so that --help need not wait for Ray

        types = get_type_hints(type(self).__init__, include_extras=True)
        sweep = Sweep(self.hydra_context, self.config, self.task_function, self.settings, types)
        return launch(sweep, job_overrides, initial_job_idx)

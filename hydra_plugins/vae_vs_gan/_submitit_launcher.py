"""`hydra/launcher=submitit_local` and `submitit_slurm`: hydra-submitit-launcher's, whose jobs resume when requeued.

Submitit requeues a job that is preempted, or whose time is nearly over: the signal by which it hears of that calls
`checkpoint`, which says what to run then. Left to itself it would begin the job anew, in a folder that has its run.

The name begins with `_` for Hydra not to import it: it can be imported only where hydra-submitit-launcher is installed.
"""

import os
from collections.abc import Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, setup_globals
from hydra_plugins.hydra_submitit_launcher import submitit_launcher


class Requeued(submitit_launcher.BaseSubmititLauncher):
    """What both have in common."""

    def __call__(
        self, sweep_overrides: list[str], job_dir_key: str, job_num: int, job_id: str, singleton_state: dict[Any, Any]
    ) -> JobReturn:
        Singleton.set_state(singleton_state)
        setup_globals()
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0:  # by SLURM itself, as when a node has failed
            sweep_overrides = self._resuming(sweep_overrides)
        return super().__call__(sweep_overrides, job_dir_key, job_num, job_id, singleton_state)

    def checkpoint(self, sweep_overrides: list[str], *others: Any) -> Any:
        return super().checkpoint(self._resuming(sweep_overrides), *others)

    def _resuming(self, overrides: list[str]) -> list[str]:
        from jobs.requeued import resuming  # here, so that --help need not wait for it

        return resuming(overrides, self.config)


class LocalLauncher(Requeued, submitit_launcher.LocalLauncher):
    """Jobs as processes of this machine, as many at a time as have `cpus_per_task` cores each; one core by default."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from jobs.machine import jobs_of_launcher  # here, so that --help need not wait for PyTorch

        at_once = jobs_of_launcher(self.config.hydra.launcher)
        ended: list[JobReturn] = []
        for first in range(0, len(job_overrides), at_once):
            ended += super().launch(job_overrides[first : first + at_once], initial_job_idx + first)
        return ended


class SlurmLauncher(Requeued, submitit_launcher.SlurmLauncher):
    """Jobs of a SLURM cluster."""

"""`hydra/sweeper=optuna`: the next trials of a sweep are chosen by the scores of those before, by Optuna.

Not hydra-optuna-sweeper: its last release asks for Optuna 2, which is of 2022 and whose databases a current SQLAlchemy
fails at, and it resumes nothing. The settings here have the names that they have there.
"""

from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override

from foundation.extras import require
from foundation.ranges import Count
from foundation.secrets import without_passwords


class OptunaSweeper(Sweeper):
    """Searches by Optuna's ask and tell; `jobs/search.py` does, this is what Hydra builds of the config."""

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def __init__(
        self,
        sampler: DictConfig,
        direction: str | None,
        storage: str | None,
        study_name: str | None,
        n_trials: Count,
        n_jobs: Count | None,
        params: DictConfig | None,
        studies: DictConfig | None,
    ) -> None:
        self.settings = {
            "sampler": sampler, "direction": direction, "storage": storage, "study_name": study_name,
            "n_trials": n_trials, "n_jobs": n_jobs, "params": params, "studies": studies,
        }  # fmt: skip

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        # What comes after is written, by launchers and with the jobs, too. The settings above have the password.
        self.hydra_context, self.config = hydra_context, with_hidden_storage(config)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=self.config
        )

    def sweep(self, arguments: list[str]) -> Any:
        require("hydra/sweeper=optuna", "optuna", "optuna")
        from jobs.search import search  # here, so that --help need not wait for it

        return search(self.settings, self.config, self.hydra_context.config_loader, self.launcher, arguments)


def with_hidden_storage(config: DictConfig) -> DictConfig:
    """A sweep's config without the password of the database that its search is kept in."""
    config = config.copy()
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper)  # unresolved: environment variables stay what they are
    overrides: Any = OmegaConf.to_container(config.hydra.overrides)
    with flag_override(config, ["readonly", "struct"], False):
        if isinstance(sweeper["storage"], str):
            config.hydra.sweeper.storage = without_passwords(sweeper["storage"])
        config.hydra.overrides.hydra = [without_passwords(override) for override in overrides["hydra"]]
    return config

"""The overrides of a sweep's job that an engine begins again, after it was preempted or its process was lost."""

from collections.abc import Sequence

from omegaconf import DictConfig

from foundation.programs import quoted

RESUME = "sweep.resume="
REQUEUED = "sweep.requeued=true"


def resuming(overrides: Sequence[str], config: DictConfig) -> list[str]:
    """The job resumes from its last checkpoint, as it does when its whole sweep is resumed."""
    resume = (
        [] if any(given.startswith(RESUME) for given in overrides) else [RESUME + quoted(str(config.hydra.sweep.dir))]
    )
    return [*(given for given in overrides if given != REQUEUED), *resume, REQUEUED]

"""How many processes were started together, and whether this is their first: by the environment, without PyTorch."""

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # where torchrun, Lightning and srun say which process this is


def is_first_process() -> bool:
    """Whether this process speaks for all that train together."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def started_together() -> int:
    """How many processes torchrun or srun has started, this one among them; 1 of one that was started alone.

    SLURM_NTASKS is no sign of others: an interactive session and a batch script have it of their allocation, and what
    is started there without srun is one process all the same.
    """
    if "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", os.environ.get("SLURM_NTASKS", "1"))) if _of_srun() else 1


def started_by_engine() -> bool:
    """Whether torchrun or srun has started this process, by a command of its own and maybe not for the last time."""
    return "TORCHELASTIC_RUN_ID" in os.environ or ("WORLD_SIZE" not in os.environ and _of_srun())


def _of_srun() -> bool:
    return "SLURM_STEP_NUM_TASKS" in os.environ or os.environ.get("SLURM_PROCID", "0") != "0"


def leave_allocation_alone() -> None:
    """Keep Lightning from taking a single process for one of several, for which it would wait or end with an error.

    By its own switch: of a job of this name it looks at none of SLURM's variables.
    """
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and started_together() == 1:
        os.environ["SLURM_JOB_NAME"] = "interactive"

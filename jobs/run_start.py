"""Taking a run folder: it holds one run, and that run's config."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from foundation.atomic import write_atomically
from foundation.errors import ConfigError
from run_folder.layout import CHECKPOINTS, CONFIG, LAST, STATUS


def claim(run_dir: Path, continued_from: str | None) -> None:
    """Raise ConfigError if the folder holds a run already, unless it is that run which is resumed."""
    resumes = continued_from is not None and Path(continued_from).resolve().parent.parent == run_dir.resolve()
    if (run_dir / CONFIG).exists() and not resumes:
        raise ConfigError(
            f"{run_dir} already holds a run, which is left as it is. Choose another hydra.run.dir, "
            f"or continue that run with ckpt_path={run_dir / CHECKPOINTS / LAST}"
        )


def left_off(run_dir: Path) -> str | None:
    """Where a run that was stopped or failed can go on. Without a checkpoint it begins anew, its config set aside."""
    last = run_dir / CHECKPOINTS / LAST
    if last.is_file():
        return str(last)
    if (run_dir / CONFIG).is_file():
        os.replace(run_dir / CONFIG, run_dir / f"earlier_{CONFIG}")
    return None


def save_config(cfg: DictConfig, run_dir: Path) -> None:
    """Write the composed config, every reference in it resolved: all that is needed to build the run again."""
    resolved = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    write_atomically(run_dir / CONFIG, lambda partial: OmegaConf.save(resolved, partial))
    (run_dir / STATUS).unlink(missing_ok=True)  # of an earlier part of the run

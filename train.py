"""Train one model on one data set: compose, build, fit, test, record.

python train.py model=gan data=imagenette
python train.py -m model=vae,gan data=digits,mnist seed=0,1
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> float | None:
    with reporting():
        from jobs.training import job  # here, so that --help need not wait for PyTorch

        return job(cfg)


if __name__ == "__main__":
    run(main)

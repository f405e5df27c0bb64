"""A finished run again, or images that another program made: scores, pictures, and samples for other programs.

python evaluate.py run=outputs/… scores=inception
python evaluate.py run=outputs/… model/density=gaussian_mixture
python evaluate.py run=outputs/… samples=10000 out=samples.npz
python evaluate.py images=samples.npz data=mnist
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    with reporting():
        from jobs.evaluation import evaluate  # here, so that --help need not wait for PyTorch

        evaluate(cfg)


if __name__ == "__main__":
    run(main, "evaluate")

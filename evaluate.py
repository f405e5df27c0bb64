"""A finished run again, or images that another program made: scores, pictures, and samples for other programs.

python evaluate.py run=outputs/… scores=inception
python evaluate.py run=outputs/… model/density=gaussian_mixture
python evaluate.py run=outputs/… samples=10000 out=samples.npz
python evaluate.py images=samples.npz data=mnist

From Python, without the run's data:

    from evaluate import load_run
    images = load_run("outputs/…").sample(16)
"""

from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

if TYPE_CHECKING:
    import torch

    from jobs.trained_model import TrainedModel

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    with reporting():
        from jobs.evaluation import evaluate  # here, so that --help need not wait for PyTorch

        evaluate(cfg)


def load_run(
    folder: str | Path,
    device: "str | torch.device" = "auto",
    checkpoint: str | None = None,
    truncation: float | None = None,
) -> "TrainedModel":
    """The model of a finished run, or of an exported one, from its folder alone, to be used from Python.

    `device`: as PyTorch calls it, or auto. `checkpoint`: a file's name in the run's folder of checkpoints, else the one
    that the run was tested with. `truncation`: of a GAN's latents. Raises UserError for a folder of no such run.
    """
    from jobs import trained_model  # here, so that --help need not wait for PyTorch

    return trained_model.load_run(folder, device, checkpoint, truncation)


def command() -> None:
    """The program, as an installation begins it."""
    run(main, "evaluate")


if __name__ == "__main__":
    command()

"""A trained run as a small folder to share: weights in half precision, config, scores, and a card that says what it is.

python export.py run=outputs/… out=zoo/gan_mnist
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="export")
def main(cfg: DictConfig) -> None:
    with reporting():
        from jobs.exporting import export  # here, so that --help need not wait for PyTorch

        export(cfg)


def command() -> None:
    """The program, as an installation begins it."""
    run(main, "export")


if __name__ == "__main__":
    command()

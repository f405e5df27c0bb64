"""A page on this machine to look into trained models: samples, walks between them, latents, and images of yours.

python explore.py run=zoo/vae_mnist_small
python explore.py run=[zoo/vae_mnist_small,zoo/gan_mnist_small] data.root=data
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="explore")
def main(cfg: DictConfig) -> None:
    with reporting():
        from explorer.serving import explore  # here, so that --help need not wait for PyTorch

        explore(cfg)


def command() -> None:
    """The program, as an installation begins it."""
    run(main, "explore")


if __name__ == "__main__":
    command()

"""Any number of images as shards, to be streamed in training: decoded once, in parallel, with their splits.

python prepare.py images=pictures out=shards
python train.py data=stream data.root=shards
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs.command_line import reporting, run

CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="prepare")
def main(cfg: DictConfig) -> None:
    with reporting():
        from jobs.preparing import prepare  # here, so that --help need not wait for PyTorch

        prepare(cfg)


def command() -> None:
    """The program, as an installation begins it."""
    run(main, "prepare")


if __name__ == "__main__":
    command()

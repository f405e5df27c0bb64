"""Train one model on one data set.

python train.py model=gan data=imagenette
python train.py -m model=vae,gan data=digits,mnist seed=0,1
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from jobs import command_line


def train(cfg: DictConfig) -> float | None:
    """Data, model, callbacks, fit, test, record. Returns the best score on val, which a sweeper may go by."""
    from jobs import building  # here, so that --help need not wait for PyTorch
    from jobs.run import Run

    run = Run(cfg)  # the config is sound; the folder is free, or that of the run to resume
    datamodule = building.build_datamodule(cfg.data)  # files, splits, image shape, classes
    callbacks = building.build_callbacks(cfg, datamodule)  # scores, pictures, curves, checkpoints, the record
    building.seed_everything(cfg.seed)  # after the callbacks, so that none of them can change a weight
    model = building.build_model(cfg.model, datamodule, compiled=cfg.compile)
    trainer = building.build_trainer(cfg, model, callbacks)

    with run.stoppable():
        run.begin(datamodule, model, trainer)
        trainer.fit(model, datamodule=datamodule, ckpt_path=run.resumed_from)
        # At its end callbacks/run_recorder.py writes metrics.json.
        trainer.test(model, datamodule=datamodule, ckpt_path=run.tested_checkpoint(), verbose=False)
    return run.finish(trainer)


CONF = str(Path(__file__).parent / "conf")  # by its path: Hydra finds folders without Python files no other way


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> float | None:
    with command_line.reporting():
        from jobs.job import run_job

        return run_job(train, cfg)


def command() -> None:
    """The program, as an installation begins it."""
    command_line.run(main)


if __name__ == "__main__":
    command()

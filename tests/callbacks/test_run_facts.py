"""What pictures say of their run, and how little they say where little is known."""

from types import SimpleNamespace

import pytest
from lightning import LightningDataModule, LightningModule, Trainer

from callbacks.run_facts import Identified, run_facts
from callbacks.score_callback import ScoreCallback
from run_folder.records import Score


class Autoencoder(LightningModule):
    """Of somebody else."""


class Squares(LightningDataModule):
    """Of somebody else, too."""


IDENTITY = {"model": "vae", "network": "conv", "data": "digits", "seed": 3, "experiment": None}


def facts_of(callbacks: list, stage: str, epoch: int = 4, **module: object) -> list[str]:
    trainer = SimpleNamespace(
        callbacks=callbacks, training=stage == "train", testing=stage == "test", current_epoch=epoch,
        datamodule=Squares(),
    )  # fmt: skip
    model = Autoencoder()
    for name, value in module.items():
        setattr(model, name, value)
    return run_facts(trainer, model)


def scored() -> ScoreCallback:
    score = ScoreCallback()
    score.val_results = {"val/fid_pixels": 12.3456}
    value = Score(value=4.5678, std=0.123, floor=None, protocol="a", weights="raw", latents=None)
    score.results = {"test/fid_pixels": value, "test/kid_pixels": value}
    return score


def test_a_picture_of_training_names_run_epoch_and_val_score():
    facts = facts_of([Identified(IDENTITY), ScoreCallback(), scored()], "train")
    assert facts == ["vae (conv) · digits · seed 3", "epoch 5 · val/fid_pixels 12.35"]


def test_a_picture_of_the_tested_model_names_its_checkpoints_epoch_and_test_score():
    facts = facts_of([scored(), Identified(IDENTITY, ["truncation=0.7"])], "test", restored_epoch=2)
    assert facts == ["vae (conv) · digits · seed 3 · truncation=0.7", "epoch 2 · test/fid_pixels 4.568 ± 0.12"]


@pytest.mark.parametrize(("stage", "rest"), [("train", ["epoch 5"]), ("test", [])])
def test_of_a_run_that_nobody_has_named_the_classes_are_said(stage: str, rest: list[str]):
    assert facts_of([], stage) == ["Autoencoder · Squares", *rest]
    nothing = SimpleNamespace(callbacks=[], training=False, testing=True)
    assert run_facts(nothing, Autoencoder()) == ["Autoencoder"]


def test_a_trainer_without_data_module_has_facts():
    assert run_facts(Trainer(logger=False, enable_progress_bar=False), Autoencoder()) == ["Autoencoder"]

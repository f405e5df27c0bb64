"""The classifier: what it descends while training, what it is judged by, and the cycle of its learning rate."""

from typing import Any

import pytest
import torch
from lightning import Callback
from small_models import build, fit, random_batch
from torch import nn


def test_labels_are_smoothed_while_training_alone():
    """With smoothing s a label is 1 − s + s / K of its class and s / K of each other one."""
    model = build("model=classifier", "model.label_smoothing=0.3", "model/augmentation=none")
    batch = random_batch(8)
    log_probs = model(batch.images).log_softmax(dim=1)
    plain = -log_probs.gather(1, batch.labels.unsqueeze(1)).mean()
    smoothed = 0.7 * plain - 0.3 * log_probs.mean(dim=1).mean()
    assert (smoothed - plain).abs() > 1e-3
    torch.testing.assert_close(model.train().objective(batch.images, batch.labels)["loss"], smoothed)
    torch.testing.assert_close(model.eval().objective(batch.images, batch.labels)["loss"], plain)


def test_accuracy_is_the_share_of_images_whose_likeliest_class_is_their_label():
    model = build("model=classifier", "model/augmentation=none")
    batch = random_batch(8)
    likeliest = model(batch.images).argmax(dim=1)
    labels = torch.where(torch.arange(8) < 6, likeliest, (likeliest + 1) % 3)
    assert model.objective(batch.images, labels)["accuracy"].item() == 0.75


def test_networks_are_the_encoder_and_the_head_and_hold_all_that_is_trained():
    model = build("model=classifier")
    assert set(model.networks) == {"encoder", "head"}
    assert isinstance(model.networks["head"], nn.Linear)
    held = {id(parameter) for network in model.networks.values() for parameter in network.parameters()}
    assert held == {id(parameter) for parameter in model.parameters()}


class LearningRates(Callback):
    """Notes the learning rate of each step."""

    def __init__(self) -> None:
        self.of_steps: list[float] = []

    def on_train_batch_start(self, trainer: Any, *_) -> None:
        self.of_steps.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_learning_rate_makes_one_cycle_over_the_steps_of_the_run():
    """From a 25th it rises to the highest in three tenths of the steps, and falls to a 10,000th of what it began at."""
    noted = LearningRates()
    fit(build("model=classifier", "model.optimizer.lr=0.5"), None, noted, max_epochs=10)
    rates = noted.of_steps
    assert len(rates) == 20  # two batches an epoch
    assert rates[:6] == sorted(rates[:6]) and rates[5:] == sorted(rates[5:], reverse=True)
    assert len(set(rates)) == 20  # another one at each step
    assert (rates[0], rates[5]) == pytest.approx((0.5 / 25, 0.5))
    assert rates[-1] == pytest.approx(0.5 / 25 / 10_000)

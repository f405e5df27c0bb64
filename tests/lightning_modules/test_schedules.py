"""Schedules of learning rates against closed forms and torch's own, and that every optimizer follows them."""

import math
from typing import Any

import pytest
import torch
from conftest import TinyImages
from hydra.utils import instantiate
from lightning import Callback
from omegaconf import OmegaConf
from small_models import SHAPE, build, fit, same, weights
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR

from foundation.errors import ConfigError
from jobs.composition import PROJECT
from lightning_modules.schedules import ConstantSchedule, CosineSchedule, OneCycleSchedule, Schedule, WarmUpSchedule

CHOICES = sorted(path.stem for path in (PROJECT / "conf/model/schedule").glob("*.yaml"))
LENGTH = 1000.0


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def chosen(name: str) -> Schedule:
    return instantiate(OmegaConf.load(PROJECT / "conf/model/schedule" / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        (ConstantSchedule(), 1, 1, 1),
        (WarmUpSchedule(images=1000), 0, 0.5, 1),
        (WarmUpSchedule(images=250), 0, 1, 1),
        (CosineSchedule(final=0.0), 1, 0.5, 0),
        (CosineSchedule(final=0.2), 1, 0.6, 0.2),
        (OneCycleSchedule(rise=0.5, first=0.1, final=0.0), 0.1, 1, 0),
        (OneCycleSchedule(rise=0.25, first=0.1, final=0.4), 0.1, 0.85, 0.4),  # a third of the way down
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Schedule) else None,
)
def test_factor_at_the_start_the_middle_and_the_end(schedule: Schedule, start: float, middle: float, end: float):
    values = [schedule.factor(images_seen, LENGTH) for images_seen in (0, 500, 1000)]
    assert values == pytest.approx([start, middle, end], abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "mean"),
    [
        (ConstantSchedule(), 1),
        (WarmUpSchedule(images=400), 1 - 0.4 / 2),
        (CosineSchedule(final=0.1), (1 + 0.1) / 2),
        (OneCycleSchedule(rise=0.3, first=0.04, final=0.2), 0.3 * (0.04 + 1) / 2 + 0.7 * (1 + 0.2) / 2),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Schedule) else None,
)
def test_mean_factor_of_a_run_is_the_integral(schedule: Schedule, mean: float):
    middles = [(index + 0.5) * LENGTH / 10_000 for index in range(10_000)]
    assert math.fsum(schedule.factor(x, LENGTH) for x in middles) / 10_000 == pytest.approx(mean, abs=1e-7)


def learning_rates(schedule: Any, steps: int) -> list[float]:
    """Of torch's schedule, in each of its steps."""
    rates = []
    for _ in range(steps):
        rates.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return rates


def test_cosine_is_torchs():
    theirs = learning_rates(CosineAnnealingLR(optimizer(), T_max=50, eta_min=0.01), 50)
    ours = [CosineSchedule(final=0.01).factor(step, 50) for step in range(50)]
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_one_cycle_is_torchs():
    steps, share = 100, 0.31  # torch's peak is at step 30 of 0 to 99
    theirs = learning_rates(OneCycleLR(optimizer(), max_lr=1.0, total_steps=steps, pct_start=share), steps)
    schedule = OneCycleSchedule(rise=(share * steps - 1) / (steps - 1), first=1 / 25, final=1 / 25e4)
    assert [schedule.factor(step, steps - 1) for step in range(steps)] == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_warm_up_is_torchs():
    theirs = learning_rates(LambdaLR(optimizer(), lambda step: min(1, step / 20)), 40)
    assert [WarmUpSchedule(images=20).factor(step, LENGTH) for step in range(40)] == pytest.approx(theirs)


@pytest.mark.parametrize("name", CHOICES)
def test_learning_rates_depend_on_the_clock_alone(name: str):
    """Whatever was set before: factors don't multiply up."""
    schedule, used, fresh = chosen(name), optimizer(0.5), optimizer(0.5)
    for images_seen in (100, 900, 300):
        schedule(used, images_seen, LENGTH)
    schedule(fresh, 300, LENGTH)
    assert used.param_groups[0]["lr"] == fresh.param_groups[0]["lr"] == 0.5 * schedule.factor(300, LENGTH)


@pytest.mark.parametrize("name", CHOICES)
def test_a_schedule_that_spans_the_run_is_one_that_looks_at_its_length(name: str):
    schedule = chosen(name)
    differs = any(schedule.factor(x, 1000) != schedule.factor(x, 2000) for x in range(0, 1001, 100))
    assert schedule.spans_run == differs
    assert build(f"model/schedule={name}").schedule_spans_run == differs


class Rates(Callback):
    """Keeps the learning rates by which every batch was trained, and the images seen by then."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.rates: list[list[float]] = []

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        self.seen.append(pl_module.images_seen)
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


@pytest.mark.parametrize("model", ["vae", "gan"])
@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 1}], ids=["whole epochs", "a part of each"])
def test_every_optimizer_follows_the_schedule_to_the_runs_end(model: str, options: dict[str, Any]):
    rates, own = Rates(), {"vae": ["optimizer"], "gan": ["generator_optimizer", "discriminator_optimizer"]}[model]
    lrs = [0.002, 0.001][: len(own)]  # two time scales are two learning rates
    overrides = [f"model.{name}.lr={lr}" for name, lr in zip(own, lrs, strict=True)]
    module = build(f"model={model}", "model/schedule=cosine", "model.schedule.final=0.25", *overrides)
    # Eight images to learn from in batches of three: the last one of an epoch is smaller.
    fit(module, TinyImages(SHAPE, batch_size=3), rates, max_epochs=3, **options)
    whole = [3, 6, 8, 11, 14, 16, 19, 22, 24]
    assert rates.seen == (whole if not options else [3, 6, 9])
    for images_seen, used in zip(rates.seen, rates.rates, strict=True):
        factor = 0.25 + 0.75 * (1 + math.cos(math.pi * images_seen / rates.seen[-1])) / 2
        assert used == pytest.approx([lr * factor for lr in lrs], rel=1e-12)
    assert rates.rates[-1] == pytest.approx([0.25 * lr for lr in lrs], rel=1e-12)


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_learning_rate_of_zero_changes_no_weight(model: str):
    module = build(f"model={model}", "model/schedule=warm_up", "model.schedule.images=1000000000000000")
    before = {role: weights(network) for role, network in module.networks.items()}
    fit(module)
    for role, network in module.networks.items():
        for old, new in zip(before[role], network.parameters(), strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=1e-12)
    changed = build(f"model={model}")
    fit(changed)
    assert not any(same(before[role], network) for role, network in changed.networks.items())


def test_a_schedule_over_the_run_is_refused_where_epochs_are_not_its_length():
    with pytest.raises(ConfigError, match=r"trainer\.max_steps: .*max_epochs"):
        fit(build("model/schedule=cosine"), max_steps=1)
    fit(build("model/schedule=warm_up"), max_steps=1)

"""Building from a config: facts that exist only at run time reach every constructor that names them."""

import signal
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import TinyImages, composed
from lightning import Callback, Trainer
from torch import nn

from callbacks.trainer_facts import STEP_HOOKS
from foundation.errors import ConfigError
from jobs.building import build_model, end_alone_by_signals, leave_out_empty_hooks, offer

FACTS = {"image_shape": (1, 2, 3), "num_classes": 5}


def everything(image_shape: Any, num_classes: Any, width: int, part: Any = None) -> tuple[Any, ...]:
    return image_shape, num_classes, width, part


def one_fact(num_classes: int, width: int = 0) -> tuple[int, int]:
    return num_classes, width


def no_fact(width: int) -> int:
    return width


def test_facts_are_offered_to_a_constructor_that_names_them():
    assert offer(FACTS, partial(everything, width=7))() == ((1, 2, 3), 5, 7, None)
    assert offer(FACTS, partial(one_fact))() == (5, 0)


def test_a_constructor_that_names_none_gets_none():
    assert offer(FACTS, partial(no_fact, width=7))() == 7


def test_factories_among_the_arguments_are_offered_facts_however_deep():
    inner = partial(everything, width=1, part=partial(one_fact, width=2))
    part = offer(FACTS, partial(everything, width=0, part=inner))()[3]
    assert part()[:3] == ((1, 2, 3), 5, 1)
    assert part()[3]() == (5, 2)


def test_what_the_config_says_wins_over_a_fact():
    assert offer(FACTS, partial(one_fact, num_classes=2))() == (2, 0)


def test_a_model_may_say_otherwise_when_it_calls_a_factory():
    assert offer(FACTS, partial(one_fact))(num_classes=9) == (9, 0)


def test_arguments_that_are_no_factories_stay_as_they_are():
    network = nn.Linear(1, 1)
    assert offer(FACTS, partial(everything, width=1, part=network))()[3] is network


def test_offering_leaves_the_factory_as_it_was():
    inner = partial(one_fact)
    factory = partial(everything, width=1, part=inner)
    offer(FACTS, factory)
    assert factory.keywords == {"width": 1, "part": inner} and inner.keywords == {}


def test_models_get_the_datas_shape_and_classes():
    datamodule = TinyImages((2, 8, 12))
    cfg = composed("network=mlp", "model=gan", "model/conditioning=label")
    model = build_model(cfg.model, datamodule)
    assert model.image_shape == (2, 8, 12) and model.num_classes == datamodule.num_classes == 3
    assert model.decode(model.sample_latents(2)).shape == (2, 2, 8, 12)


def test_training_images_are_read_only_for_a_part_that_asks_for_them():
    for prior, read in (("standard_normal", False), ("vamp", True)):
        datamodule = TinyImages((1, 8, 8))
        cfg = composed("network=mlp", f"model/prior={prior}", *(["model.prior.num_components=4"] if read else []))
        build_model(cfg.model, datamodule)
        assert bool(datamodule._splits) == read


def test_more_pseudo_inputs_than_training_images_are_refused():
    cfg = composed("network=mlp", "model/prior=vamp", "model.prior.num_components=9")
    with pytest.raises(ConfigError, match=r"9 training images are needed at once, and TinyImages has 8"):
        build_model(cfg.model, TinyImages((1, 8, 8)))


def test_training_images_change_no_random_draw():
    cfg = composed("network=mlp", "model/prior=vamp", "model.prior.num_components=4")
    drawn = []
    for prepared in (True, False):
        datamodule = TinyImages((1, 8, 8))
        if prepared:
            datamodule.setup()
        torch.manual_seed(0)
        drawn.append(build_model(cfg.model, datamodule).encoder.network[1].weight.detach())
    assert torch.equal(*drawn)


def test_weights_lie_in_the_layout_in_which_convolutions_are_fastest():
    model = build_model(composed("network=conv").model, TinyImages((3, 16, 16)))
    kernels = [p for p in model.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert kernels and all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_a_signal_goes_to_the_processes_that_were_started_and_is_no_collective_operation(monkeypatch):
    """A broadcast from within a handler waits for ever for others that wait in another operation."""
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    told: list[int] = []
    monkeypatch.setattr(trainer.strategy, "_launcher", SimpleNamespace(kill=told.append))
    monkeypatch.setattr(type(trainer), "world_size", 2)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: pytest.fail("broadcast in a handler"))
    end_alone_by_signals(trainer)
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(trainer._signal_connector, "_has_already_handler", lambda _: False)
    trainer._signal_connector.register_signal_handlers()
    try:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM] and trainer.received_sigterm


def test_hooks_of_a_step_that_do_nothing_are_left_out_and_no_other():
    class Counts(Callback):
        def __init__(self) -> None:
            self.steps = 0

        def on_train_batch_end(self, *args: Any) -> None:
            self.steps += 1

    counts = Counts()
    trainer = Trainer(
        max_steps=3, callbacks=[counts], logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    leave_out_empty_hooks(trainer)
    assert [hook for hook in STEP_HOOKS if getattr(counts, hook)] == ["on_train_batch_end"]
    assert counts.on_fit_start is not None  # not of a step
    datamodule = TinyImages((1, 8, 8))
    trainer.fit(build_model(composed("model=vae").model, datamodule), datamodule=datamodule)
    assert counts.steps == 3

"""The shorter path of a training step does what Lightning's own does, in its order and on its counters."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TinyImages
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.profilers import SimpleProfiler

from callbacks.epoch_seed import EpochSeed
from callbacks.profiler import NoProfiler
from jobs.building import build_model, shorten_steps
from jobs.composition import composed
from jobs.training_loop import TrainingLoop
from lightning_modules.gan import GAN

SMALL = ["network=mlp", "network.encoder.width=8", "network.decoder.width=8"]


class Recorder(Callback):
    """Keeps the order in which it is called, what it is given, and where `self.log` would think it is."""

    def __init__(self, stops_after: int | None = None) -> None:
        self.seen: list[Any] = []
        self.plain: set[bool] = set()
        self.stops_after = stops_after  # a batch

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(("val", trainer.global_step))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        loop = trainer.fit_loop.epoch_loop
        self.plain.add(isinstance(loop, TrainingLoop) and loop._is_plain)
        self.seen.append(("start", pl_module._current_fx_name, batch_idx, float(batch[0].sum()), trainer.global_step))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        norm = sum(float(p.grad.norm()) for group in optimizer.param_groups for p in group["params"])
        self.seen.append(("step", pl_module._current_fx_name, norm, trainer.global_step, trainer.is_last_batch))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        values = {name: float(value.detach()) for name, value in outputs.items()}
        pl_module.log("seen", next(iter(values.values())), on_step=True, on_epoch=True)
        assert not any(value.requires_grad for name, value in outputs.items() if name == "loss")
        self.seen.append(
            ("end", pl_module._current_fx_name, values, batch_idx, trainer.global_step, trainer.is_last_batch)
        )
        trainer.should_stop = trainer.should_stop or batch_idx == self.stops_after


def trained(
    name: str, folder: Path, shortened: bool, stops_after: int | None = None, **options: Any
) -> tuple[Recorder, dict[str, Any], Trainer]:
    torch.manual_seed(0)
    model = build_model(composed(f"model={name}", *SMALL, "model.ema_half_life=100").model, TinyImages((1, 8, 8)))
    recorder = Recorder(stops_after)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[EpochSeed(0), recorder], num_sanity_val_steps=0,
        profiler=NoProfiler(), **options,
    )  # fmt: skip
    if shortened:
        shorten_steps(trainer)
    trainer.fit(model, datamodule=TinyImages((1, 8, 8), batch_size=3))
    trainer.save_checkpoint(folder / f"{shortened}.ckpt")
    checkpoint = torch.load(folder / f"{shortened}.ckpt", weights_only=True)
    return recorder, checkpoint, trainer


MODELS = ("vae", "gan", "wgan_gp", "vaegan", "vqvae")
AMID_AN_EPOCH = [{"val_check_interval": 1}, {"val_check_interval": 0.5}, {"stops_after": 0}]


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in MODELS), *(("vae", options) for options in AMID_AN_EPOCH)],
)
def test_short_steps_are_lightning_s_steps(name: str, options: dict[str, Any], tmp_path: Path):
    (ours, our_file, trainer), (theirs, their_file, other) = (
        trained(name, tmp_path, each, **options) for each in (True, False)
    )
    assert ours.plain == {True}  # or Lightning's own were compared with themselves
    assert ours.seen == theirs.seen and {kind for kind, *_ in ours.seen} == {"start", "step", "end", "val"}
    assert our_file["loops"] == their_file["loops"]
    assert our_file["images_seen"] == their_file["images_seen"]
    assert trainer.callback_metrics == other.callback_metrics and "seen" in trainer.callback_metrics
    for key, weight in their_file["state_dict"].items():
        assert torch.equal(weight, our_file["state_dict"][key]), key


def test_steps_of_several_optimizers_are_short_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[bool] = []
    for shortened in (True, False):
        monkeypatch.setattr(
            LightningModule, "manual_backward", lambda _, loss, s=shortened: calls.append(s) or loss.backward()
        )
        trained("gan", tmp_path, shortened)
    assert set(calls) == {False}


def test_a_model_s_own_way_backwards_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    monkeypatch.setattr(GAN, "manual_backward", lambda _, loss: calls.append(1) or loss.backward(), raising=False)
    ours, _, _ = trained("gan", tmp_path, True)
    assert ours.plain == {False} and len(calls) == 12  # two players, three batches, two epochs


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_nothing_is_logged_between_steps_as_if_it_were_in_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    advance, names = TrainingLoop.advance, []

    def watched(loop: TrainingLoop, data_fetcher: Any) -> None:
        advance(loop, data_fetcher)
        names.append(loop.trainer.lightning_module._current_fx_name)

    monkeypatch.setattr(TrainingLoop, "advance", watched)
    trained(name, tmp_path, True)
    assert set(names) == {None}


def test_a_model_may_skip_the_rest_of_an_epoch_and_a_callback_may_be_handed_its_hooks(tmp_path: Path):
    seen = []
    for shortened in (True, False):
        torch.manual_seed(0)
        model = build_model(composed("model=vae", *SMALL).model, TinyImages((1, 8, 8)))
        setattr(model, "on_train_batch_start", lambda batch, batch_idx: -1 if batch_idx == 1 else None)  # noqa: B010
        ends: list[int] = []
        given = LambdaCallback(
            on_train_batch_end=lambda trainer, module, outputs, batch, index, to=ends: to.append(index)
        )
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path, callbacks=[given], profiler=NoProfiler(),
        )  # fmt: skip
        if shortened:
            shorten_steps(trainer)
        trainer.fit(model, datamodule=TinyImages((1, 8, 8), batch_size=3))
        progress = trainer.fit_loop.epoch_loop.batch_progress
        seen.append((ends, trainer.global_step, trainer.current_epoch, progress.state_dict()))
    assert seen[0] == seen[1] and seen[0][:2] == ([0, 0], 2)


def test_what_a_short_step_does_not_know_is_left_to_lightning(tmp_path: Path):
    class Looks(Callback):
        def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
            calls.append(trainer.global_step)

    calls: list[int] = []
    torch.manual_seed(0)
    model = build_model(composed("model=vae", *SMALL).model, TinyImages((1, 8, 8)))
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[Looks()], profiler=NoProfiler(),
    )  # fmt: skip
    shorten_steps(trainer)
    trainer.fit(model, datamodule=TinyImages((1, 8, 8), batch_size=4))
    assert calls == [0, 1]


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1e-6}])
def test_accumulation_and_clipping_of_the_trainer_work_as_before(options: dict[str, Any], tmp_path: Path):
    (ours, our_file, _), (theirs, their_file, _) = (trained("vae", tmp_path, each, **options) for each in (True, False))
    assert ours.plain == {False} and ours.seen == theirs.seen
    for key, weight in their_file["state_dict"].items():
        assert torch.equal(weight, our_file["state_dict"][key]), key


def test_a_profiler_sees_every_hook(tmp_path: Path):
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, profiler=SimpleProfiler(),
    )  # fmt: skip
    shorten_steps(trainer)
    model = build_model(composed("model=vae", *SMALL).model, TinyImages((1, 8, 8)))
    trainer.fit(model, datamodule=TinyImages((1, 8, 8)))
    assert any("on_train_batch_start" in action for action in trainer.profiler.recorded_durations)

"""Whole runs on digits: what a run folder holds, one clock, resuming to the bit, and callbacks that only look on."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from conftest import RICH, composed
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from callbacks.checkpoints import RunCheckpoint
from callbacks.epoch_seed import EpochSeed
from callbacks.export_reference import ExportReference
from callbacks.run_recorder import RunRecorder
from foundation.errors import UserError
from lightning_modules.schedules import OneCycleSchedule
from run_folder.curves import read_rows
from scoring.scorer import Glance, Scorer
from train import train

MLP = ["network=mlp", "network.encoder.width=32", "network.decoder.width=32"]
MODELS = ["vae", "gan"]


def last_weights(run: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]


def assert_same_weights(first: Path, second: Path, name: str = "last.ckpt") -> None:
    ours, theirs = last_weights(first, name), last_weights(second, name)
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        assert torch.equal(weight, theirs[key]), key


def dashboard(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


@pytest.mark.parametrize("model", MODELS)
def test_run_folder_holds_everything(model: str, train_in, capsys: pytest.CaptureFixture):
    run = train_in(model, f"model={model}", *MLP)
    record = json.loads((run / "metrics.json").read_text())
    assert {key: record[key] for key in ("model", "network", "data", "seed", "images_seen", "epochs")} == {
        "model": model, "network": "mlp", "data": "digits", "seed": 0, "images_seen": 2 * 1197, "epochs": 2,
    }  # fmt: skip
    networks = {"vae": {"encoder", "decoder"}, "gan": {"generator", "discriminator"}}[model]
    parameters = dict(record["parameters"])
    assert parameters.pop("total") == sum(parameters.values()) and set(parameters) == networks
    assert 0 < record["seconds"] < 60
    assert 50e6 < record["peak_memory_bytes"] < 20e9
    score = record["scores"]["test/fid_reference"]
    assert score["value"] > score["floor"] > 0 and score["std"] > 0
    protocol = record["protocols"][score["protocol"]]
    assert protocol["extractor"] == "reference/digits"
    assert protocol["num_real"] == protocol["num_fakes"] == 300
    assert (run / record["checkpoint"]).is_file()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    pictures = {str(path.relative_to(run / "pictures")) for path in (run / "pictures").rglob("*.*")}
    drawn = ["samples_fixed", "samples_fresh", "interpolation_line", "interpolation_slerp"]
    drawn += ["reconstructions"] if model == "vae" else []
    moments = ["epoch_0001", "epoch_0002", "final"]
    single = {"training.webp", "charts/loss_curves.png", "nearest_train/final.png", "charts/classes.png"}
    single |= {"charts/kl_by_dimension.png"} if model == "vae" else set()
    assert pictures == {f"{name}/{moment}.png" for name in drawn for moment in moments} | single
    for picture in pictures:
        Image.open(run / "pictures" / picture).verify()
    assert OmegaConf.load(run / "config.yaml").choices.model == model
    assert not list(run.rglob("*.partial*"))
    out = capsys.readouterr().out
    for line in (
        rf"  pictures   {re.escape(str(run))}/pictures",
        rf"  scores     {re.escape(str(run))}/metrics\.json   curves {re.escape(str(run))}/metrics\.csv",
        rf"  dashboard  tensorboard --logdir {re.escape(str(run))}",
        rf"  test/fid_reference +{score['value']:.4g}   ± {score['std']:.2g} +{score['floor']:.4g}",
    ):
        assert re.search(rf"^{line}$", out, re.MULTILINE), line


@pytest.mark.parametrize("model", MODELS)
def test_dashboard_has_scalars_images_figures_and_hparams_on_the_clock_of_images(model: str, train_in):
    run = train_in(model, f"model={model}", *MLP, "trainer.log_every_n_steps=4")
    board = dashboard(run)
    tags = board.Tags()
    networks = {"vae": ["encoder", "decoder"], "gan": ["generator", "discriminator"]}[model]
    losses = {
        "vae": ["elbo", "kl", "reconstruction"],
        "gan": ["loss_generator", "loss_discriminator", "d_real", "d_fake"],
    }
    for loss in losses[model]:
        assert [event.step for event in board.Scalars(f"3 losses/{loss} train")] == [400, 800, 1197, 1597, 1997, 2394]
        assert [event.step for event in board.Scalars(f"3 losses/{loss} val")] == [1197, 2394]
    for network in networks:
        assert all(event.value > 0 for event in board.Scalars(f"9 gradient norms/{network}"))
        assert len(board.Scalars(f"8 learning rates/{network}")) == 6
    assert [event.step for event in board.Scalars("1 scores/fid_reference val")] == [1197, 2394]
    tested = 1197 * json.loads((run / "metrics.json").read_text())["checkpoint_epoch"]
    assert {event.step for event in board.Scalars("7 test/fid_reference")} == {tested}
    assert {
        "2 samples/samples_fixed",
        "2 samples/samples_fresh",
        "5 interpolations/interpolation_line",
        "5 interpolations/interpolation_slerp",
        "6 figures/loss_curves",
    } <= set(tags["images"])
    assert [event.step for event in board.Images("2 samples/samples_fixed")][:2] == [1197, 2394]
    hparams = board.SummaryMetadata("_hparams_/session_start_info")
    assert hparams.plugin_data.plugin_name == "hparams"
    start = HParamsPluginData.FromString(hparams.plugin_data.content).session_start_info
    assert dict(start.hparams).keys() == {"model", "network", "data", "seed", "given"}
    assert start.hparams["model"].string_value == model and start.hparams["seed"].string_value == "0"


def test_curves_in_the_table_are_those_of_the_dashboard(train_in):
    run = train_in("run", *MLP)
    rows = read_rows(run / "metrics.csv")
    board = dashboard(run)
    from_table = [(step, scalars["train/elbo"]) for step, scalars in rows if "train/elbo" in scalars]
    from_board = [(event.step, event.value) for event in board.Scalars("3 losses/elbo train")]
    assert [step for step, _ in from_table] == [step for step, _ in from_board]
    for (_, ours), (_, theirs) in zip(from_table, from_board, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("in_place", [True, False], ids=["same folder", "new folder"])
def test_resumed_run_ends_like_the_uninterrupted_one(model: str, in_place: bool, train_in):
    options = [f"model={model}", *MLP, "trainer.log_every_n_steps=5", "model.latent_dim=8"]
    whole = train_in("whole", *options, "trainer.max_epochs=4")
    part = train_in("part", *options, "trainer.max_epochs=2")
    name = "part" if in_place else "resumed"
    resumed = train_in(name, *options, "trainer.max_epochs=4", f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}")

    assert_same_weights(whole, resumed)
    assert_same_weights(whole, resumed, "best.ckpt")
    curves = [
        [
            (step, {key: value for key, value in scalars.items() if key != "seconds"})
            for step, scalars in read_rows(run / "metrics.csv")
            if not any("test/" in key for key in scalars)
        ]
        for run in (whole, resumed)
    ]
    assert len(curves[0]) > 15
    assert curves[0] == curves[1]
    for tag in (
        "1 scores/fid_reference val",
        "9 gradient norms/decoder" if model == "vae" else "3 losses/d_fake train",
    ):
        points = [[(event.step, event.value) for event in dashboard(run).Scalars(tag)] for run in (whole, resumed)]
        assert points[0] == points[1]
    records = [json.loads((run / "metrics.json").read_text()) for run in (whole, resumed)]
    assert records[0]["scores"] == records[1]["scores"]
    assert records[0]["images_seen"] == records[1]["images_seen"]
    assert records[1]["seconds"] > 0


@pytest.mark.slow
def test_resumed_averages_follow_on_their_own_clock(train_in):
    """Of three batches an epoch the generator steps in every second one: its average lags behind the images seen."""
    options = ["model=gan", *MLP, "scores=none", "data.batch_size=400", "model.n_critic=2"]  # 3 batches an epoch
    uninterrupted = train_in("uninterrupted", *options, "trainer.max_epochs=4")
    part = train_in("part", *options, "trainer.max_epochs=1")
    checkpoint = torch.load(part / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["averaged_until"], checkpoint["images_seen"]) == (800, 1197)
    resumed = train_in("resumed", *options, "trainer.max_epochs=4", f"ckpt_path={part}/checkpoints/last.ckpt")
    assert_same_weights(uninterrupted, resumed)


@pytest.mark.slow
def test_resumed_density_and_learned_prior_are_those_of_the_uninterrupted_run(train_in):
    parts = ["model/prior=vamp", "model.prior.num_components=5"]
    parts += ["model/density=gaussian_mixture", "model.density.num_components=3"]
    options = [*MLP, *parts, "model.latent_dim=4", "model.ema_half_life=500", "callbacks.likelihood=null"]
    uninterrupted = train_in("uninterrupted", *options, "trainer.max_epochs=3")
    part = train_in("part", *options, "trainer.max_epochs=2")
    resumed = train_in("resumed", *options, "trainer.max_epochs=3", f"ckpt_path={part}/checkpoints/last.ckpt")
    assert_same_weights(uninterrupted, resumed)
    assert last_weights(resumed)["density.fitted_at"] == 3 * 1197
    scores = [json.loads((run / "metrics.json").read_text())["scores"] for run in (uninterrupted, resumed)]
    assert scores[0] == scores[1]


def test_best_checkpoint_of_an_earlier_part_counts_after_resuming(train_in, monkeypatch: pytest.MonkeyPatch):
    values = iter([1.0, 5.0, 4.0, 3.0])  # the best epoch is the first
    monkeypatch.setattr(Scorer, "glance", lambda *_: Glance(next(values), None, None))
    part = train_in("part", *MLP, "trainer.max_epochs=2")
    resumed = train_in("resumed", *MLP, "trainer.max_epochs=4", f"ckpt_path={part}/checkpoints/last.ckpt")
    best = torch.load(resumed / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == 0
    assert_same_weights(part, resumed, "best.ckpt")


@pytest.mark.parametrize("model", MODELS)
def test_turning_callbacks_off_changes_no_weight(model: str, train_in):
    with_all = train_in("with", f"model={model}", *MLP)
    groups = ["sample_grid", "interpolation", "reconstruction_grid", "loss_curves", "curves", "progress_bar"]
    off = [f"callbacks.{name}=null" for name in groups]
    run_dir = with_all.parent / "without"
    same = [
        "data=digits",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        "every_n_epochs=1",
        f"model={model}",
        *MLP,
    ]
    train(composed(*same, *off, "scores=none", run_dir=run_dir))
    assert_same_weights(with_all, run_dir)


@pytest.mark.slow
def test_same_seed_repeats_a_run_and_another_does_not(train_in):
    first, second, third = (train_in(name, *MLP, f"seed={seed}") for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert_same_weights(first, second)
    ours, theirs = last_weights(first), last_weights(third)
    assert all(not torch.equal(ours[key], theirs[key]) for key in ours if key.endswith(".weight"))


def test_without_scores_the_last_checkpoint_is_tested(train_in):
    run = train_in("run", *MLP, "scores=none")
    record = json.loads((run / "metrics.json").read_text())
    assert record["scores"] == {} and record["checkpoint"] == "checkpoints/last.ckpt"
    assert not (run / "checkpoints" / "best.ckpt").exists()


def test_checkpoints_hold_plain_things_and_no_extractor(train_in):
    run = train_in("run", *MLP, "model=gan")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert not any("extractor" in key or "classifier" in key for key in checkpoint["state_dict"])
    averaged = {key for key in checkpoint["state_dict"] if key.startswith("averages.")}
    assert averaged and averaged == {
        f"averages.generator.module.{key.removeprefix('generator.')}"
        for key in checkpoint["state_dict"]
        if key.startswith("generator.")
    }
    assert checkpoint["images_seen"] == checkpoint["averaged_until"] == 2 * 1197


def test_diverging_training_stops_at_once_and_says_where(train_in, monkeypatch: pytest.MonkeyPatch):
    from lightning_modules.vae import VAE

    original = VAE.objective

    def objective(self, images):
        terms = original(self, images)
        return terms | {"loss": terms["loss"] * math.nan} if self.images_seen > 1197 + 300 else terms

    monkeypatch.setattr(VAE, "objective", objective)
    with pytest.raises(UserError, match=r"train/loss is nan in epoch 2, after 1,597 images"):
        train_in("run", *MLP, "trainer.log_every_n_steps=3")


def test_generator_that_steps_rarely_has_its_curves(train_in):
    run = train_in("run", "model=wgan_gp", *MLP)  # the generator is never due in a logged batch
    names = {name for _, scalars in read_rows(run / "metrics.csv") for name in scalars}
    assert {"train/loss_generator", "gradient_norm/generator", "train/loss_discriminator"} <= names


def test_weights_that_diverge_in_the_last_batch_are_noticed(train_in, monkeypatch: pytest.MonkeyPatch):
    from lightning_modules.vae import VAE

    original = VAE.on_train_batch_start

    def spoil(self, batch, batch_idx):
        original(self, batch, batch_idx)
        if batch_idx == 11:
            self.optimizers().param_groups[0]["lr"] = math.inf

    monkeypatch.setattr(VAE, "on_train_batch_start", spoil)
    with pytest.raises(UserError, match="a weight is no longer finite at the end of epoch 1"):
        train_in("run", *MLP)


def test_diverged_weights_reach_no_checkpoint(train_in, tmp_path: Path):
    with pytest.raises(UserError, match="training diverged"):
        train_in("run", *MLP, "model.optimizer.lr=1e30")
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_classifier_run_exports_a_reference_of_its_own(train_in):
    from scoring.reference import load_reference

    run = train_in("run", "model=classifier", *MLP, "trainer.max_epochs=3")
    classifier, facts = load_reference(run / "reference.safetensors")
    record = json.loads((run / "metrics.json").read_text())
    assert float(facts["test_accuracy"]) == pytest.approx(record["test"]["test/accuracy"], abs=1e-4)
    assert 0.3 < float(facts["test_accuracy"]) <= 1  # a tenth would be chance
    assert classifier.image_shape == (1, 8, 8)
    for key, weight in last_weights(run, "best.ckpt").items():
        exported = classifier.state_dict()[key.removeprefix("network.")]
        assert torch.equal(exported, weight.half().to(weight.dtype))


def test_pictures_scores_val_losses_and_the_best_checkpoint_have_one_cadence(train_in):
    run = train_in("run", *MLP, "trainer.max_epochs=5", "every_n_epochs=2", "trainer.log_every_n_steps=1000")
    due = [2, 4]
    for name in ("samples_fixed", "interpolation_line", "reconstructions"):
        drawn = {path.name for path in (run / "pictures" / name).iterdir()}
        assert drawn == {f"{stage}.png" for stage in (*(f"epoch_{epoch:04d}" for epoch in due), "final")}
    rows = read_rows(run / "metrics.csv")
    for scalar in ("val/fid_reference", "val/elbo"):
        assert [images_seen for images_seen, row in rows if scalar in row] == [1197 * epoch for epoch in due], scalar
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] + 1 in due
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1 == 5


def test_best_checkpoint_is_kept_only_after_epochs_that_are_scored(
    train_in, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    kept, values = [], iter([2.0, 1.0])
    save = RunCheckpoint._save_checkpoint

    def noted(self, trainer, filepath):
        kept.append((Path(filepath).name, trainer.current_epoch + 1))
        save(self, trainer, filepath)

    monkeypatch.setattr(RunCheckpoint, "_save_checkpoint", noted)
    monkeypatch.setattr(Scorer, "glance", lambda *_: Glance(next(values), None, None))
    train_in("run", *MLP, "trainer.max_epochs=5", "every_n_epochs=2")
    assert kept == [
        ("last.ckpt", 1), ("best.ckpt", 2), ("last.ckpt", 2), ("last.ckpt", 3), ("best.ckpt", 4), ("last.ckpt", 4),
        ("last.ckpt", 5),
    ]  # fmt: skip
    assert not [warning for warning in recwarn if "could not find the monitored key" in str(warning.message)]


@pytest.mark.parametrize("place", ["best_checkpoint", "last_checkpoint", "sample_grid", "interpolation"])
def test_a_second_cadence_is_refused(place: str, train_in):
    with pytest.raises(UserError, match=rf"callbacks\.{place}\.every_n_epochs: .* has no such option"):
        train_in("run", f"+callbacks.{place}.every_n_epochs=3")


def test_classifier_begins_another_cycle_from_an_earlier_runs_weights(train_in):
    first = train_in("first", "model=classifier", *MLP, "trainer.max_epochs=3")
    again = [f"model.initial_weights={first / 'reference.safetensors'}", "model.optimizer.lr=1e-12"]
    second = train_in("second", "model=classifier", *MLP, "trainer.max_epochs=1", *again)
    accuracies = [json.loads((run / "metrics.json").read_text())["test"]["test/accuracy"] for run in (first, second)]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)


def test_initial_weights_that_are_none_are_refused(train_in, tmp_path: Path):
    (tmp_path / "none.safetensors").write_text("nothing")
    for path in ("nowhere.safetensors", "none.safetensors"):
        with pytest.raises(UserError, match=f"initial_weights: .*{path} can't be used"):
            train_in("run", "model=classifier", *MLP, f"model.initial_weights={tmp_path / path}")


def test_exported_command_names_files_without_their_folders_and_no_data_root():
    overrides = [
        "data.root=/home/me",
        "experiment=reference/mnist",
        "model.initial_weights=/home/me/a.safetensors",
        "seed=0",
    ]
    command = ExportReference({}, overrides, seed=0).command
    assert command == "python train.py experiment=reference/mnist model.initial_weights=a.safetensors seed=0"


def test_cost_is_that_of_all_parts_and_not_of_the_checkpoint_that_is_tested():
    before, model = {"seconds": 100.0, "peak_memory_bytes": 2**50}, type("Model", (), {"images_seen": 7})
    record = RunRecorder({}, command=None)
    record.load_state_dict(before)
    record.on_fit_start(None, model)
    record.on_fit_end(None, model)
    record.load_state_dict({"seconds": 50.0, "peak_memory_bytes": 1})  # best.ckpt, to be tested
    assert 100 <= record.elapsed() < 101 and record.state_dict()["peak_memory_bytes"] == 2**50


@pytest.mark.slow
@pytest.mark.parametrize("choices", [["model=wgan_gp"], *RICH.values()], ids=" ".join)
def test_models_train_in_mixed_precision(choices: list[str], train_in):
    run = train_in("run", *choices, *MLP, "trainer.precision=bf16-mixed", "trainer.max_epochs=1")
    assert json.loads((run / "metrics.json").read_text())["scores"]["test/fid_reference"]["value"] > 0


@pytest.mark.parametrize("choices", [["model=classifier"], ["model=gan", "model/schedule=cosine"]], ids=" ".join)
def test_run_whose_learning_rates_span_it_is_not_prolonged(choices: list[str], train_in):
    part = train_in("part", *choices, *MLP, "trainer.max_epochs=2")
    last = f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(UserError, match=r"learning rates depend on trainer\.max_epochs: resume it with the same"):
        train_in("longer", *choices, *MLP, "trainer.max_epochs=4", last)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_resumed_schedules_clippings_and_drawn_images_repeat_the_uninterrupted_run(model: str, train_in, monkeypatch):
    """A run over its whole length that was stopped in its second epoch, and the same one that was not."""
    options = [f"model={model}", *MLP, "model/schedule=one_cycle", "model/clipping=norm", "model.clipping.max_norm=0.1"]
    options += ["scores=none", "trainer.max_epochs=4", "trainer.log_every_n_steps=5"]
    options += ["model/constraint=weight_clipping", "model.constraint.bound=0.1"] if model == "gan" else []
    options += ["data.horizontal_flip=true", "data.binarize=true"]
    whole = train_in("whole", *options)

    def stop(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise RuntimeError("stopped")
        seed(self, trainer, pl_module)

    seed = EpochSeed.on_train_epoch_start
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(EpochSeed, "on_train_epoch_start", stop)
        train_in("part", *options)
    resumed = train_in("resumed", *options, f"ckpt_path={whole.parent}/part/checkpoints/last.ckpt")
    assert_same_weights(whole, resumed)
    name = {"vae": "learning_rate/decoder", "gan": "learning_rate/generator"}[model]
    rates = [[(x, row[name]) for x, row in read_rows(run / "metrics.csv") if name in row] for run in (whole, resumed)]
    assert rates[0] == rates[1] and len({rate for _, rate in rates[0]}) == len(rates[0]) >= 9
    schedule = OneCycleSchedule(rise=0.3, first=0.04, final=4e-6)
    assert rates[0] == [(x, pytest.approx(0.001 * schedule.factor(x, 4 * 1197), rel=1e-6)) for x, _ in rates[0]]

"""TensorBoard reads itself: the order of its groups, charts of a quantity with all splits, and columns of HParams."""

from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trackers.tensorboard_names import layout, picture_tag, tag_of
from trackers.tensorboard_tracker import TensorBoardTracker
from trackers.tracker import TrackedRun

NAMES = [
    "seconds", "gradient_norm/encoder", "learning_rate/encoder", "train/elbo", "val/elbo", "test/elbo",
    "val/fid_reference", "test/fid_reference", "test/nll", "train/loss",
]  # fmt: skip


def test_scores_come_first_then_losses_and_the_clock_last():
    groups = sorted({tag_of(name).partition("/")[0] for name in NAMES}, key=lambda group: int(group.split()[0]))
    assert groups == ["1 scores", "3 losses", "7 test", "8 learning rates", "9 gradient norms", "10 clock"]
    assert tag_of("val/fid_inception") == "1 scores/fid_inception val"
    assert tag_of("train/elbo") == "3 losses/elbo train" and tag_of("mine") == "mine"
    assert [picture_tag(name) for name in ("samples_fixed", "kl_by_dimension")] == [
        "2 samples/samples_fixed", "6 figures/kl_by_dimension",
    ]  # fmt: skip


def test_charts_show_the_splits_of_a_quantity_together():
    charts = layout(NAMES)
    assert list(charts) == ["1 scores", "3 losses", "7 test", "8 learning rates", "9 gradient norms", "10 clock"]
    assert charts["1 scores"] == {
        "fid_reference": ["Multiline", ["7 test/fid_reference", "1 scores/fid_reference val"]]
    }
    assert charts["3 losses"]["elbo"][1] == ["7 test/elbo", "3 losses/elbo train", "3 losses/elbo val"]
    assert charts["7 test"] == {"nll": ["Multiline", ["7 test/nll"]]}


def written(folder: Path, *, hyperparameters: str = "differing", kept_id: str | None = None) -> EventAccumulator:
    tracker = TensorBoardTracker(str(folder), hyperparameters)
    settings = {"model": "vae", "seed": 0, "model.latent_dim": 8, "data.batch_size": 9}
    differing = {"model": "vae", "seed": 0, "model.latent_dim": 8}
    tracker.begin(TrackedRun("a", None, settings, differing, kept_id, None if kept_id is None else 20))
    for step in (10, 20, 30):
        tracker.log_metrics({"train/elbo": step + (0.5 if kept_id else 0), "epoch": step / 10, "seconds": step}, step)
        tracker.log_metrics({"val/fid_a": 2.0, "epoch": step / 10 - 1, "seconds": step + 1}, step)
    picture = folder / "p.png"
    Image.new("L", (5, 4)).save(picture)
    tracker.log_picture("samples_fixed", picture, 30)
    tracker.log_metrics({"test/fid_a": 3.0}, 30)
    tracker.log_scores({"test/fid_a": 3.0}, ["hash"])
    tracker.close("finished")
    return EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()


def test_hparams_lists_what_differs_and_the_scores_and_nothing_else(tmp_path: Path):
    board = written(tmp_path)
    read = {
        tag: HParamsPluginData.FromString(board.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)
        for tag in ("experiment", "session_start_info", "session_end_info")
    }
    experiment = read["experiment"].experiment
    assert [info.name for info in experiment.hparam_infos] == ["model", "seed", "model.latent_dim"]
    assert [(info.name.tag, info.display_name) for info in experiment.metric_infos] == [("7 test/fid_a", "fid_a")]
    assert board.Scalars("7 test/fid_a")[-1].value == 3.0  # where the page looks for it
    start = read["session_start_info"].session_start_info.hparams
    assert start["model"].string_value == "vae" and start["model.latent_dim"].number_value == 8


def test_hparams_lists_all_that_decides_where_it_is_asked_for(tmp_path: Path):
    board = written(tmp_path, hyperparameters="all")
    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"data.batch_size" in content


def test_no_curve_of_epochs_and_one_point_of_the_clock_at_a_time(tmp_path: Path):
    board = written(tmp_path)
    assert not [tag for tag in board.Tags()["scalars"] if "epoch" in tag]
    assert [event.step for event in board.Scalars("10 clock/seconds")] == [10, 20, 30]
    assert board.Tags()["images"] == ["2 samples/samples_fixed"]
    charts = Layout.FromString(board.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    assert [category.title for category in charts.category] == ["1 scores", "3 losses", "10 clock"]


@pytest.mark.parametrize("kept_id", ["events", None])
def test_resumed_run_drops_what_was_drawn_after_its_checkpoint(kept_id: str | None, tmp_path: Path):
    written(tmp_path)
    board = written(tmp_path, kept_id="events") if kept_id else EventAccumulator(str(tmp_path)).Reload()
    values = [(event.step, event.value) for event in board.Scalars("3 losses/elbo train")]
    assert values[-1] == ((30, 30.5) if kept_id else (30, 30.0))
    assert [value for step, value in values if step == 30] == [values[-1][1]]

"""Scores of samples: what they compare, the protocol they state, what they keep, and what they rank."""

import csv
import json
import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import DATA_ROOT, Pixels, TinyImages, composed, needs_real
from small_data import PLAIN
from torch import Tensor
from torch.nn.functional import avg_pool2d

from callbacks.checkpoints import RunCheckpoint
from callbacks.early_stopping import EarlyStopping
from callbacks.sample_scores import SampleScores
from datamodules.digits import Digits
from datamodules.image_datamodule import ImageDataModule
from datamodules.imagenette import Imagenette
from datamodules.mnist import MNIST
from foundation.errors import ConfigError
from jobs.building import build_model
from jobs.summary import score_table
from run_folder.records import Score
from scoring import features as features_module
from scoring import fidelity as fidelity_module
from scoring import scorer as scorer_module
from scoring.extractors import FeatureExtractor, ReferenceExtractor
from scoring.features import GivenSamples, ModelSamples, batches_of, features_of
from scoring.fidelity import RealFeatures
from scoring.protocol import content_hash, short_hash
from scoring.published import published_num_fakes, published_scores, published_under
from scoring.scorer import PixelSpread, Scorer

SHAPE = (1, 8, 8)


class Pictured(TinyImages):
    """Tiny images whose label is the brightest of the first three pixels, and a cache folder of their own."""

    def __init__(self, folder: Path, num_learn: int = 90, num_test: int = 40) -> None:
        super().__init__(SHAPE, num_learn=num_learn)
        self.num_test, self.num_val, self.folder = num_test, 30, folder
        self.setup()

    def read(self):
        return tuple(split._replace(labels=split.images.flatten(1)[:, :3].argmax(1)) for split in super().read())

    @property
    def cache_folders(self) -> list[Path]:
        return [self.folder]


@pytest.fixture
def images(tmp_path: Path) -> Pictured:
    return Pictured(tmp_path)


def gan():
    torch.manual_seed(0)
    return build_model(composed("model=gan", "network=mlp").model, TinyImages(SHAPE))


def scorer_of(datamodule: ImageDataModule, extractor: FeatureExtractor | None = None, **options) -> Scorer:
    defaults = {"num_fakes": None, "num_train": None, "batch_size": 16, "seed": 0}
    return Scorer(extractor or Pixels(SHAPE), datamodule, **(defaults | options))


def score(datamodule: ImageDataModule, extractor: Callable = Pixels, **options) -> SampleScores:
    defaults = {
        "protocol": None, "num_fakes": None, "num_train": None, "repeats": 3, "batch_size": 16,
        "seed": 0,
    }  # fmt: skip
    network = partial(extractor, image_shape=datamodule.image_shape)
    return SampleScores("pixels", network, datamodule, **(defaults | options))


def first_pixels(samples: ModelSamples, count: int, seed: int) -> Tensor:
    return torch.cat([make() for make in samples.draw(count, seed)]).flatten(1)[:, :5] / 255


# What is compared with what


@pytest.mark.parametrize("split", ["val", "test"])
def test_fid_is_of_a_draw_against_a_split(split: str, images: Pictured):
    samples = ModelSamples(gan(), 16)
    real = images.split(split).images.flatten(1)[:, :5] / 255
    expected = RealFeatures(real).frechet_distance(first_pixels(samples, len(real), seed=3))
    assert scorer_of(images).distance(samples, split, seed=3) == pytest.approx(expected, rel=1e-9)


def test_report_is_the_mean_and_deviation_over_draws_of_every_score(images: Pictured):
    samples, scorer = ModelSamples(gan(), 16), scorer_of(images, seed=5)
    report = scorer.report(samples, repeats=4)
    assert set(report.scores) == {
        "fid", "kid", "precision", "recall", "density", "coverage", "missing_modes", "confidence",
        "nearest_train",
    }  # fmt: skip
    real = RealFeatures(images.split("test").images.flatten(1)[:, :5] / 255)
    drawn = [first_pixels(samples, 40, seed) for seed in (5, 6, 7, 8)]
    for name, values in {
        "fid": [real.frechet_distance(fakes) for fakes in drawn],
        "kid": [real.kernel_distance(fakes) for fakes in drawn],
        "recall": [real.manifold_scores(fakes)["recall"] for fakes in drawn],
    }.items():
        assert report.scores[name].value == pytest.approx(fmean(values)), name
        assert report.scores[name].std == pytest.approx(stdev(values)), name
    assert len({float(fakes.sum()) for fakes in drawn}) == 4


def test_floor_is_the_score_of_as_many_training_images(images: Pictured):
    report = scorer_of(images).report(ModelSamples(gan(), 16), repeats=1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    train = images.split("train").images[order[:40]].flatten(1)[:, :5] / 255
    real = RealFeatures(images.split("test").images.flatten(1)[:, :5] / 255)
    assert report.scores["fid"].floor == pytest.approx(real.frechet_distance(train))
    assert report.scores["kid"].floor == pytest.approx(real.kernel_distance(train))
    assert report.scores["coverage"].floor == real.manifold_scores(train)["coverage"]
    assert report.scores["nearest_train"].floor is None


@pytest.mark.parametrize(("num_fakes", "has_floor"), [(60, True), (61, False)])
def test_there_is_no_floor_where_training_images_are_fewer_than_fakes(
    num_fakes: int, has_floor: bool, images: Pictured
):
    report = scorer_of(images, num_fakes=num_fakes).report(ModelSamples(gan(), 16), repeats=1)
    assert (report.scores["fid"].floor is not None) == has_floor


def test_copies_of_training_images_are_found_out(images: Pictured):
    copies = scorer_of(images).report(GivenSamples(images.split("train").images[:40], 16), repeats=1)
    assert copies.scores["nearest_train"].value == pytest.approx(0, abs=1e-3)
    assert torch.equal(copies.closest.fakes, copies.closest.neighbours[:, 0])
    assert torch.equal(copies.random.fakes, copies.random.neighbours[:, 0])
    assert float(copies.closest.distances[:, 0].max()) == 0 and float(copies.random.distances[:, 1].min()) > 0
    new = scorer_of(images).report(GivenSamples(images.split("test").images, 16), repeats=1)
    assert new.scores["nearest_train"].value == pytest.approx(1, abs=1e-6)
    assert not torch.equal(new.closest.fakes, new.closest.neighbours[:, 0])


def test_closest_pairs_are_fakes_of_the_first_draw_and_their_nearest_training_images(images: Pictured):
    samples, scorer = ModelSamples(gan(), 16), scorer_of(images)
    report = scorer.report(samples, repeats=2)
    fakes, train = first_pixels(samples, 40, seed=0), images.split("train").images.flatten(1)[:, :5] / 255
    distance, nearest = torch.cdist(fakes, train).min(dim=1)
    closest = distance.sort().indices[:10]
    torch.testing.assert_close(report.closest.fakes.flatten(1)[:, :5], fakes[closest])
    torch.testing.assert_close(report.closest.neighbours[:, 0].flatten(1)[:, :5], train[nearest[closest]])
    torch.testing.assert_close(report.closest.distances[:, 0], distance[closest])


def test_neighbours_of_random_fakes_are_the_nearest_in_their_order(images: Pictured):
    report = scorer_of(images).report(ModelSamples(gan(), 16), repeats=1)
    fakes = first_pixels(ModelSamples(gan(), 16), 40, seed=0)
    train = images.split("train").images.flatten(1)[:, :5] / 255
    shown = report.random.fakes.flatten(1)[:, :5]
    rows = (shown.unsqueeze(1) - fakes).abs().sum(dim=2).argmin(dim=1)
    assert len(set(rows.tolist())) == 10 and rows.tolist() != sorted(rows.tolist())  # ten, and not the first ten
    distance, order = torch.cdist(shown, train).sort(dim=1)
    torch.testing.assert_close(report.random.distances, distance[:, :5])
    torch.testing.assert_close(report.random.neighbours.flatten(2)[:, :, :5], train[order[:, :5]])


def test_classes_are_told_only_by_an_extractor_that_tells_them_apart(images: Pictured):
    samples = ModelSamples(gan(), 16)
    told = scorer_of(images).report(samples, repeats=1)
    assert told.classes["real"] == pytest.approx(
        dict(zip("abc", (images.split("test").labels.bincount() / 40).tolist(), strict=True)), abs=1e-6
    )
    assert sum(told.classes["generated"].values()) == pytest.approx(1)
    images.split("test").labels.copy_((images.split("test").labels + 1) % 3)  # now it is wrong about all of them
    report = scorer_of(images).report(samples, repeats=1)
    assert not report.classes and "missing_modes" not in report.scores
    other = Pixels(SHAPE)
    other.class_names = ("x", "y", "z")
    assert not scorer_of(images, other).report(samples, repeats=1).classes


def test_number_of_fakes_and_of_training_images_can_be_chosen(images: Pictured):
    scorer = scorer_of(images, num_fakes=21, num_train=33)
    assert scorer.protocol["num_fakes"] == 21 and scorer.protocol["num_train"] == 33
    report = scorer.report(ModelSamples(gan(), 16), repeats=1)
    real = RealFeatures(images.split("test").images.flatten(1)[:, :5] / 255)
    assert report.scores["fid"].value == pytest.approx(
        real.frechet_distance(first_pixels(ModelSamples(gan(), 16), 21, seed=0))
    )


def test_draws_do_not_depend_on_the_batch_size():
    small, large = (torch.cat([make() for make in ModelSamples(gan(), size).draw(40, 7)]) for size in (16, 40))
    assert (small.int() - large.int()).abs().max() <= 1


def test_chosen_images_of_a_draw_are_those_of_the_draw():
    samples = ModelSamples(gan(), 16)
    every = torch.cat([make() for make in samples.draw(40, 7)])
    chosen = torch.tensor([3, 39, 0])
    assert (samples.at(chosen, 40, 7).int() - every[chosen].int()).abs().max() <= 1


def test_scoring_leaves_training_as_it_was(images: Pictured):
    model = gan().train()
    state = torch.get_rng_state()
    scorer_of(images).report(ModelSamples(model, 16), repeats=2)
    assert model.training and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("num_fakes", "num_test"), [(None, 4), (4, 40)])
def test_with_fewer_images_than_features_kid_stands_alone(num_fakes: int | None, num_test: int, tmp_path: Path):
    datamodule = Pictured(tmp_path, num_test=num_test)
    report = scorer_of(datamodule, num_fakes=num_fakes).report(ModelSamples(gan(), 16), repeats=2)
    assert set(report.scores) == {"kid", "missing_modes", "confidence", "nearest_train"}  # too few for neighbours, too
    assert report.notes[0].startswith("no fid: 4 images are fewer than the extractor's 5 features")
    enough = scorer_of(Pictured(tmp_path, num_test=40), num_fakes=5).report(ModelSamples(gan(), 16), repeats=2)
    assert "fid" in enough.scores and not any("fid" in note for note in enough.notes)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_one_image_is_refused(split: str, images: Pictured):
    setattr(images, f"num_{split}", 1)
    with pytest.raises(ConfigError, match=f"{split} has 1 images, and a score compares 2 at least; use scores=none"):
        score(images)


def test_little_data_has_kid_choose_checkpoints_and_stop_runs(tmp_path: Path, capsys: pytest.CaptureFixture):
    few, many = Pictured(tmp_path / "few"), Pictured(tmp_path / "many")
    few.num_val = 4
    for datamodule, chosen_by in ((few, "val/kid_pixels"), (many, "val/fid_pixels")):
        checkpoint = RunCheckpoint(str(tmp_path), "best", monitor="val/fid_pixels")
        scores, last = score(datamodule), RunCheckpoint(str(tmp_path), "last")
        stopping = EarlyStopping("val/fid_pixels", "min", patience=1, min_delta=0.0)
        trainer = SimpleNamespace(callbacks=[scores, checkpoint, stopping, last], is_global_zero=True)
        scores.setup(trainer, gan(), "fit")
        scores.setup(trainer, gan(), "test")
        assert checkpoint.monitor == stopping.monitor == scores.chosen_by == chosen_by and last.monitor is None
    said = "val/kid_pixels chooses the checkpoint: an fid needs as many images as the extractor has features, 5, "
    assert capsys.readouterr().out == f"{said}and val has 4\n"


def test_best_checkpoint_of_little_data_has_the_least_kid(train_in, capsys: pytest.CaptureFixture):
    run = train_in("run", "model=gan", "network=mlp", "scores.extractor.trained_on=mnist", "scores.num_fakes=50")
    record = json.loads((run / "metrics.json").read_text())
    with open(run / "metrics.csv", newline="") as file:
        curve = [float(row["val/kid_reference"]) for row in csv.DictReader(file) if row.get("val/kid_reference")]
    assert len(curve) == 2 and record["best_val_score"] == pytest.approx(min(curve), rel=1e-6)
    assert "test/kid_reference" in record["scores"] and "test/fid_reference" not in record["scores"]
    assert record["notes"]["reference"][0].startswith("no fid: 50 images")
    out = capsys.readouterr().out
    assert "val/kid_reference=" in out and "  reference: no fid: 50 images" in out


def test_val_is_scored_by_latents_that_no_test_draws(images: Pictured):
    drawn: dict[str, list[int]] = {"val": [], "test": []}

    class Watched(ModelSamples):
        def draw(self, count: int, seed: int):
            drawn[split].append(seed)
            return super().draw(count, seed)

    scores = score(images, repeats=3, seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callbacks.sample_scores.ModelSamples", Watched)
        patch.setattr("callbacks.sample_scores.log_results", lambda *_: None)
        patch.setattr("callbacks.sample_scores.is_due", lambda _: True)
        split = "val"
        scores.on_train_epoch_end(None, gan())
        split = "test"
        scores.measure(Watched(gan(), 16), torch.device("cpu"), repeats=3)
    assert drawn["test"] == [7, 8, 9] and len(drawn["val"]) == 1
    latents = {seed: ModelSamples(gan(), 16).draw(30, seed)[0]().flatten() for seed in (*drawn["val"], *drawn["test"])}
    assert len({tuple(images.tolist()) for images in latents.values()}) == 4


# What is said of the scores


def test_accuracy_of_the_extractor_is_measured_where_classes_correspond(images: Pictured):
    assert scorer_of(images).extractor_accuracy == 1
    images.split("test").labels[:10] = (images.split("test").labels[:10] + 1) % 3
    assert scorer_of(images).extractor_accuracy == pytest.approx(0.75)
    other = Pixels(SHAPE)
    other.class_names = ("x", "y", "z")
    assert scorer_of(images, other).extractor_accuracy is None
    scores = score(images)
    scores.measure(ModelSamples(gan(), 16), torch.device("cpu"), repeats=1)
    assert scores.details["extractor_accuracy"] == {"pixels": pytest.approx(0.75)}


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [(0.287, "extractor right about 29% of test"), (None, "extractor's accuracy unknown"), (0.75, "")],
)
def test_a_low_or_unknown_accuracy_stands_beside_every_score(accuracy: float | None, said: str):
    scores = {
        "test/fid_reference": Score(value=1.5, std=0.1, floor=0.2, protocol="aaaa"),
        "test/recall_reference": Score(value=0.5, std=None, floor=None, protocol="aaaa"),
        "test/nll": Score(value=90.0, std=None, floor=None, protocol="bbbb"),
    }
    lines = score_table(scores, {"aaaa": {}, "bbbb": {}}, {"reference": accuracy}, {"reference": ["no fid: why"]})
    of = {name: next(line for line in lines if name in line) for name in scores}
    assert of["test/fid_reference"].endswith(said or "0.2") and of["test/recall_reference"].endswith(said or "0.5")
    assert of["test/nll"].endswith("90") and lines[-1] == "  reference: no fid: why"


def test_sample_diversity_is_the_spread_of_pixels_over_that_of_real_images(images: Pictured):
    real = images.split("test").images
    same = GivenSamples(real[:1].repeat(40, 1, 1, 1), 16)
    assert scorer_of(images).report(same, repeats=1).sample_diversity == 0
    assert scorer_of(images).report(GivenSamples(real, 16), repeats=1).sample_diversity == pytest.approx(1)
    half = GivenSamples(real // 2, 16)
    expected = (real // 2).double().std(dim=0, correction=0).mean() / real.double().std(dim=0, correction=0).mean()
    assert scorer_of(images).report(half, repeats=1).sample_diversity == pytest.approx(float(expected))
    real.zero_()
    assert scorer_of(images).report(half, repeats=1).sample_diversity is None


def test_a_glance_at_one_draw_shows_its_distance_its_diversity_and_its_missing_modes(images: Pictured):
    real, scorer = images.split("val").images, scorer_of(images)
    images.split("val").labels.copy_(real.flatten(1)[:, :3].argmax(dim=1))  # the extractor is right
    same = GivenSamples(real[:1].repeat(len(real), 1, 1, 1), 3)
    samples = ModelSamples(gan(), 3)
    drawn = torch.cat([make() for make in samples.draw(len(real), seed=3)])
    spread = drawn.double().std(dim=0, correction=0).mean() / real.double().std(dim=0, correction=0).mean()
    glance = scorer.glance(samples, "val", seed=3)
    assert glance.distance == scorer.distance(samples, "val", seed=3)
    assert glance.sample_diversity == pytest.approx(float(spread), rel=1e-9)
    shown = set(drawn.flatten(1)[:, :3].argmax(dim=1).tolist())
    present = set(images.split("val").labels.tolist())
    assert glance.missing_modes == pytest.approx(len(present - shown) / len(present))
    identical = scorer.glance(same, "val", seed=3)
    assert identical.sample_diversity == 0
    assert identical.missing_modes == pytest.approx((len(present) - 1) / len(present))


def test_pixels_spread_the_same_whatever_the_batches_and_counts_the_first():
    pixels = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for at_most, counted in ((None, 50), (20, 20), (90, 50)):
        spread = PixelSpread(at_most)
        handed_on = torch.cat([make() for make in spread.watching(batches_of(pixels, 7))])
        assert torch.equal(handed_on, pixels) and spread.count == counted
        expected = pixels[:counted].double().std(dim=0, correction=0).mean()
        assert spread.deviation == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("kind", ["twice", "black"])
def test_nearest_train_is_left_out_with_a_word_where_data_has_duplicates(kind: str, images: Pictured):
    test, train = images.split("test").images, images.split("train").images
    if kind == "twice":
        train[:30].copy_(test[:30])
    else:
        test.zero_()
        train.zero_()
    report = scorer_of(images).report(ModelSamples(gan(), 16), repeats=2)
    assert "nearest_train" not in report.scores and {"fid", "kid", "recall"} <= set(report.scores)
    assert "no nearest_train: most test images have duplicates among the training images" in report.notes
    train[:20].copy_(torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, *SHAPE))
    test[:30] += torch.randint(1, 200, (30, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert "nearest_train" in scorer_of(images).report(ModelSamples(gan(), 16), repeats=2).scores


def test_a_recall_near_zero_is_said(images: Pictured):
    same = GivenSamples(images.split("test").images[:1].repeat(40, 1, 1, 1), 16)
    report = scorer_of(images).report(same, repeats=1)
    assert report.scores["precision"].value == 1 and report.scores["recall"].value < 0.1
    assert any(note.startswith("recall is 0.0") and "precision" in note for note in report.notes)
    good = scorer_of(images).report(GivenSamples(images.split("train").images, 16), repeats=1)
    assert not good.notes


# One arithmetic


def test_scores_are_computed_in_full_precision_whatever_the_run(images: Pictured, monkeypatch: pytest.MonkeyPatch):
    seen = set()

    def state() -> tuple:
        product = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, product

    class Watched(Pixels):
        def forward(self, images: Tensor) -> Tensor:
            seen.add(state())
            return super().forward(images)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        model = gan()
        decode = model.decode
        model.decode = lambda latents: seen.add(state()) or decode(latents)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outside = state()
            scorer = scorer_of(images, Watched(SHAPE))
            scorer.report(ModelSamples(model, 16), repeats=1)
            scorer.distance(ModelSamples(model, 16), "val", 0)
            assert state() == outside == ("medium", True, torch.bfloat16)
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {("highest", False, torch.float32)}


def test_a_draw_of_given_images_is_some_of_them_from_all_over():
    images = torch.arange(200, dtype=torch.uint8).view(200, 1, 1, 1)
    samples = GivenSamples(images, 16)
    drawn = torch.cat([make() for make in samples.draw(100, seed=0)]).flatten()
    assert len(drawn.unique()) == 100 and 80 < drawn.float().mean() < 120
    assert torch.equal(samples.at(torch.tensor([7, 99]), 100, seed=0).flatten(), drawn[[7, 99]])
    assert not torch.equal(torch.cat([make() for make in samples.draw(100, seed=1)]).flatten(), drawn)
    with pytest.raises(ConfigError, match="201 are to be scored and 200 are given"):
        samples.draw(201, seed=0)


# The protocol


def test_protocol_states_everything_that_two_numbers_must_share(images: Pictured):
    report = scorer_of(images, seed=5).report(ModelSamples(gan(), 16), repeats=2)
    assert report.protocol == {
        "extractor": "pixels", "data": "Pictured", "split": "test",
        "split_sha256": content_hash(images.split("test").images), "num_real": 40, "num_fakes": 40, "num_train": 60,
        "train_sha256": content_hash(images.split("train").images), "missing_modes": "below 0.1 of the real share",
        "pixels": "uint8, rounded", "seed": 5,
        "kid": "unbiased, all pairs of images", "precision_recall": "k = 3", "density_coverage": "k = 5",
    }  # fmt: skip
    assert {score.protocol for score in report.scores.values()} == {short_hash(report.protocol)}


def test_protocol_hash_is_the_same_for_the_same_protocol_alone(images: Pictured, tmp_path: Path):
    first = short_hash(scorer_of(images).protocol)
    assert len(first) == 8 and int(first, 16) >= 0
    assert short_hash(scorer_of(Pictured(tmp_path / "again")).protocol) == first
    assert short_hash(dict(reversed(scorer_of(images).protocol.items()))) == first
    for options in ({"num_fakes": 39}, {"num_train": 9}, {"seed": 1}):
        assert short_hash(scorer_of(images, **options).protocol) != first
    images.split("test").images[0, 0, 0, 0] ^= 1
    assert short_hash(scorer_of(images).protocol) != first


def test_what_moves_no_number_is_not_in_the_hash(images: Pictured):
    protocol = scorer_of(images).protocol
    for key in protocol:
        moves = key not in ("data", "num_real", "num_train")
        assert (short_hash(protocol | {key: "another"}) != short_hash(protocol)) == moves, key
    assert "num_features" in ReferenceExtractor(SHAPE, ("a",), None).protocol
    assert short_hash(protocol | {"num_features": 3, "num_images": 5}) == short_hash(protocol)


def test_models_of_either_kind_and_given_images_share_a_protocol(images: Pictured):
    vae = build_model(composed("model=vanilla_vae", "network=mlp").model, TinyImages(SHAPE))
    given = GivenSamples(images.split("val").images.repeat(2, 1, 1, 1), 16)
    reports = [
        scorer_of(images).report(samples, 1) for samples in (ModelSamples(gan(), 16), ModelSamples(vae, 16), given)
    ]
    assert len({report.scores["fid"].protocol for report in reports}) == 1


def test_record_carries_the_protocol(train_in):
    run = train_in("run", "model=gan", "network=mlp")
    record = json.loads((run / "metrics.json").read_text())
    (key,) = record["protocols"]
    assert key == short_hash(record["protocols"][key])
    assert {name.split("_")[-1] for name in record["scores"]} == {"reference"}
    for result in record["scores"].values():
        assert set(result) == {"value", "std", "floor", "protocol", "weights", "latents"} and result["protocol"] == key
        assert result["weights"] == "averaged (EMA)" and result["latents"] == "prior"
    for picture in ("nearest_train/final.png",):
        assert (run / "pictures" / picture).is_file()


# Published protocols


def test_published_numbers_are_those_of_their_sources():
    lucic = {score.model: (score.value, score.std) for score in published_scores("lucic2018")}
    assert lucic == {
        "MM GAN": (9.8, 0.9), "NS GAN": (6.8, 0.5), "LSGAN": (7.8, 0.6), "WGAN": (6.7, 0.4), "WGAN-GP": (20.3, 5.0),
        "DRAGAN": (7.6, 0.4), "BEGAN": (13.1, 1.0), "VAE": (23.8, 0.6),
    }  # fmt: skip
    unconfirmed = [score.model for score in published_scores("lucic2018") if "unconfirmed" in (score.remark or "")]
    assert unconfirmed == ["VAE"]
    assert all("about 100 settings for each model" in score.source for score in published_scores("lucic2018"))


def test_numbers_under_a_protocol_that_cannot_be_followed_here_compare_with_none_of_ours():
    # Dai & Wipf stretch fakes to their own minimum and maximum; the course report states no protocol. The rest is of
    # data or splits that are not here.
    assert {score.model: (score.value, score.std) for score in published_scores(None)} == {
        "2-Stage VAE": (12.6, 1.5), "VAE, cross-entropy": (16.6, 0.4), "VAE, fixed γ": (52.0, 0.6),
        "VAE, learned γ": (54.5, 1.0), "VAE": (19.52, 4.5), "GAN": (12.7, 3.5), "DCGAN": (21.4, None),
        "WGAN-GP": (29.3, None), "SNGAN": (21.7, None), "R3GAN": (1.96, None), "VAE, optimal σ": (27.25, None),
        "VampPrior": (82.38, None), "VAE, N(0, I)": (84.5, None),
    }  # fmt: skip
    asked = {"extractor": "inception-v3-compat", "data": "MNIST", "split": "test", "num_fakes": 10_000}
    assert {score.model for score in published_under(asked)} == {score.model for score in published_scores("lucic2018")}


def test_a_published_number_is_shown_with_its_deviation_where_its_source_states_one():
    shown = {score.model: score.text for score in published_scores(None)}
    assert shown["2-Stage VAE"] == "12.6 ± 1.5" and shown["R3GAN"] == "1.96"


def test_published_protocol_sets_the_number_of_fakes_and_refuses_what_it_does_not_cover(images: Pictured):
    assert published_num_fakes("lucic2018", None) == published_num_fakes("lucic2018", 10_000) == 10_000
    with pytest.raises(ConfigError, match=r"asks for 10,000 fakes, not scores\.num_fakes=500"):
        score(images, protocol="lucic2018", num_fakes=500)
    mnist = MNIST(root="unread", batch_size=100, seed=0, split_seed=0, **PLAIN)
    with pytest.raises(ConfigError, match="asks for extractor inception-v3-compat, not pixels"):
        score(mnist, protocol="lucic2018")
    with pytest.raises(ConfigError, match=r"scores\.protocol: expected null or one of lucic2018, got lucic2019"):
        score(images, protocol="lucic2019")

    class Inception(Pixels):
        def __init__(self, image_shape: tuple[int, int, int]) -> None:
            super().__init__(image_shape)
            self.protocol = {"extractor": "inception-v3-compat"}

    with pytest.raises(ConfigError, match="asks for data MNIST, not Pictured"):
        score(images, Inception, protocol="lucic2018")
    assert score(mnist, Inception, protocol="lucic2018").scorer.num_fakes == 10_000


# Features: kept on disk, and the same on any number of devices


def test_real_features_are_computed_once_for_all_runs(images: Pictured):
    first, second = Pixels(SHAPE), Pixels(SHAPE)
    samples = ModelSamples(gan(), 16)
    report = scorer_of(images, first).report(samples, repeats=1)
    again = scorer_of(images, second).report(samples, repeats=1)
    assert again.scores == report.scores
    assert second.calls == 3  # the fakes, in batches of 16
    assert first.calls == 3 + 3 + 4  # and test's 40 and train's 60 real images
    assert len(list(images.folder.glob("features-*.safetensors"))) == 2
    assert len(list(images.folder.glob("real-*.safetensors"))) == 1


def test_scores_of_real_images_are_those_of_these_training_images(images: Pictured):
    samples = GivenSamples(images.split("test").images, 16)
    first = scorer_of(images).report(samples, repeats=1)
    images.split("train").images.copy_(images.split("train").images.flip(0, 3))  # as another split would
    images.split("train").images[:30] //= 2
    second = scorer_of(images).report(samples, repeats=1)
    assert second.scores["nearest_train"].value == pytest.approx(1, abs=1e-6)
    assert second.scores["fid"].floor != first.scores["fid"].floor
    assert second.scores["fid"].protocol != first.scores["fid"].protocol


def test_features_of_training_images_serve_every_seed(images: Pictured):
    scorer_of(images, seed=0).report(ModelSamples(gan(), 16), repeats=1)
    extractor = Pixels(SHAPE)
    scorer_of(images, extractor, seed=1).report(ModelSamples(gan(), 16), repeats=1)
    assert extractor.calls == 3


def test_scores_of_real_images_are_kept_by_their_protocol(images: Pictured):
    samples = ModelSamples(gan(), 16)
    first = scorer_of(images).report(samples, repeats=1).scores["fid"].floor
    assert scorer_of(images, seed=1).report(samples, repeats=1).scores["fid"].floor != first
    (stored, _) = sorted(images.folder.glob("real-*"), key=lambda path: path.stat().st_mtime)
    stored.write_bytes(stored.read_bytes()[:-3])
    assert scorer_of(images).report(samples, repeats=1).scores["fid"].floor == first


def test_scores_of_real_images_are_computed_once(images: Pictured, monkeypatch: pytest.MonkeyPatch):
    measured, original = [], Scorer._scores
    monkeypatch.setattr(Scorer, "_scores", lambda self, fakes: measured.append(len(fakes)) or original(self, fakes))
    for sets in (2, 1):  # the training images and the fakes; later the fakes alone
        measured.clear()
        scorer_of(images).report(GivenSamples(images.split("test").images, 16), repeats=1)
        assert len(measured) == sets


def test_what_only_real_images_decide_is_computed_once_for_all_draws(images: Pictured, monkeypatch: pytest.MonkeyPatch):
    scorer_of(images).report(ModelSamples(gan(), 16), repeats=1)  # the floor is kept
    scorer = scorer_of(images)
    real, seen = scorer._real("test").features, []

    def watch(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def watched(*given: object) -> object:
            of = [one for one in given if isinstance(one, Tensor)]
            seen.append((name, len(of) == 1 and torch.equal(of[0], real)))
            return original(*given)

        monkeypatch.setattr(owner, name, watched)

    for name in ("neighbour_radii", "third_moment"):
        watch(fidelity_module, name)
    watch(Scorer, "_classify")
    scorer.report(ModelSamples(gan(), 16), repeats=4)
    of_real = [name for name, is_real in seen if is_real]
    assert sorted(of_real) == ["_classify", "neighbour_radii", "third_moment"]
    assert seen.count(("neighbour_radii", False)) == seen.count(("third_moment", False)) == 4


def test_batches_on_a_cpu_reach_the_networks_in_parts(images: Pictured):
    sizes = []

    class Watched(Pixels):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(len(images))
            return super().forward(images)

    many = torch.randint(256, (120, *SHAPE), dtype=torch.uint8)
    found = features_of(batches_of(many, 110), Watched(SHAPE), torch.device("cpu"), "features")
    assert sizes == [50, 50, 10, 10]
    assert torch.equal(found, many.flatten(1)[:, :5] / 255)


def test_what_one_process_lacks_is_computed_by_all(images: Pictured, monkeypatch: pytest.MonkeyPatch):
    samples = GivenSamples(images.split("test").images, 16)
    measured, original = [], Scorer._scores
    monkeypatch.setattr(Scorer, "_scores", lambda self, fakes: measured.append(len(fakes)) or original(self, fakes))
    first = scorer_of(images).report(samples, repeats=1)
    for module in (features_module, scorer_module):
        monkeypatch.setattr(module, "true_on_all_ranks", lambda found: False)
    measured.clear()
    extractor = Pixels(SHAPE)
    assert scorer_of(images, extractor).report(samples, repeats=1).scores == first.scores
    assert extractor.calls == 3 + 3 + 4 and len(measured) == 2


def test_features_of_other_images_or_of_another_extractor_are_not_taken(images: Pictured):
    scorer_of(images).report(ModelSamples(gan(), 16), repeats=1)
    images.split("test").images[0, 0, 0, 0] ^= 1
    changed = Pixels(SHAPE)
    scorer_of(images, changed).distance(ModelSamples(gan(), 16), "test", 0)
    assert changed.calls == 6
    other = Pixels(SHAPE)
    other.protocol = {"extractor": "pixels", "sha256": "of other weights"}
    scorer_of(images, other).distance(ModelSamples(gan(), 16), "test", 0)
    assert other.calls == 6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "renamed"])
def test_damaged_features_are_made_again(damage: str, images: Pictured, capsys: pytest.CaptureFixture):
    samples = ModelSamples(gan(), 16)
    expected = scorer_of(images).distance(samples, "test", 0)
    (stored,) = images.folder.glob("features-*")
    content = bytearray(stored.read_bytes())
    if damage == "truncated":
        stored.write_bytes(content[:-7])
    elif damage == "flipped":
        content[-5] ^= 1
        stored.write_bytes(content)
    else:
        scorer_of(images).distance(samples, "val", 0)
        (val,) = set(images.folder.glob("features-*")) - {stored}
        stored.write_bytes(val.read_bytes())  # another split's features under this one's name
    extractor = Pixels(SHAPE)
    assert scorer_of(images, extractor).distance(samples, "test", 0) == expected
    assert extractor.calls == 6
    assert str(stored) in capsys.readouterr().out
    extractor = Pixels(SHAPE)
    scorer_of(images, extractor).distance(samples, "test", 0)
    assert extractor.calls == 3


def two_processes(rank: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(folder, "port").read_text()}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    extractor, model = Pixels(SHAPE), gan()
    model.load_state_dict(torch.load(Path(folder, "model.pt"), weights_only=True))
    report = scorer_of(Pictured(Path(folder)), extractor).report(ModelSamples(model, 16), repeats=2)
    scores = {name: score.model_dump() for name, score in report.scores.items()}
    Path(folder, f"{rank}.json").write_text(json.dumps({"scores": scores, "calls": extractor.calls}))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_the_work_and_find_the_scores_of_one(images: Pictured, tmp_path: Path, free_port: int):
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "port").write_text(str(free_port))
    alone, model = Pixels(SHAPE), gan()
    torch.save(model.state_dict(), folder / "model.pt")
    expected = scorer_of(images, alone).report(ModelSamples(model, 16), repeats=2).scores
    mp.spawn(two_processes, args=(str(folder),), nprocs=2)
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    for scores in (rank["scores"] for rank in told):
        for name, result in expected.items():
            assert scores[name]["value"] == pytest.approx(result.value, rel=1e-6), name
            assert scores[name]["std"] == pytest.approx(result.std, rel=1e-6, abs=1e-9), name
    assert told[0]["calls"] + told[1]["calls"] == alone.calls and told[1]["calls"] > 3


def test_two_processes_agree_on_whether_features_are_stored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for others, agreed in ((True, True), (False, False)):
        monkeypatch.setattr(
            dist, "all_gather_object", lambda found, own, others=others: found.__setitem__(slice(0, 2), [own, others])
        )
        assert features_module.true_on_all_ranks(True) is agreed


# That the scores rank as they should, on real images

DISTURBANCES = {
    "blur": (lambda images, strength, _: blurred(images, strength), (0, 1, 2, 3)),
    "noise": (lambda images, strength, generator: noisy(images, strength, generator), (0, 16, 40, 90)),
    "dropped classes": (lambda images, strength, _: images, (0, 2, 5, 8)),  # see below
    "blanks mixed in": (lambda images, strength, _: blanked(images, strength), (0.0, 0.05, 0.2, 0.5)),
}


def blurred(images: Tensor, radius: int) -> Tensor:
    pixels = images.float()
    return avg_pool2d(pixels, 2 * radius + 1, 1, radius, count_include_pad=False).round().to(torch.uint8)


def noisy(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    noise = strength * torch.randn(images.shape, generator=generator)
    return (images + noise).clamp(0, 255).round().to(torch.uint8)


def blanked(images: Tensor, share: float) -> Tensor:
    return torch.cat([torch.zeros_like(images[: int(share * len(images))]), images[int(share * len(images)) :]])


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageDataModule:
    folder = tmp_path_factory.mktemp("real")
    datamodule: ImageDataModule
    if request.param == "Digits":
        datamodule = Digits(batch_size=100, seed=0, split_seed=0, **PLAIN)
    elif request.param == "MNIST":
        datamodule = MNIST(root=str(DATA_ROOT), batch_size=100, seed=0, split_seed=0, **PLAIN)
    else:
        (folder / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
        datamodule = Imagenette(root=str(folder), image_size=64, batch_size=100, seed=0, split_seed=0, **PLAIN)
    datamodule.setup()
    return datamodule


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize(
    "real",
    [
        pytest.param("MNIST", marks=needs_real("MNIST")),
        pytest.param("Imagenette", marks=[needs_real("imagenette2-160"), pytest.mark.slow]),
    ],
    indirect=True,
)
def test_every_growing_disturbance_of_real_images_raises_fid(disturbance: str, real: ImageDataModule):
    change, strengths = DISTURBANCES[disturbance]
    test, train = real.split("test").images[::5][:500], real.split("train")
    side = RealFeatures(features_of_real(test, real))
    found = []
    for strength in strengths:
        kept = train.images[train.labels >= strength] if disturbance == "dropped classes" else train.images
        chosen = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:300]]
        changed = change(chosen, strength, torch.Generator().manual_seed(0))
        found.append(side.frechet_distance(features_of_real(changed, real)))
    assert found == sorted(found), found
    assert found[-1] > 2 * found[0]


def shuffled_between_images(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel from another image: as bright everywhere as before, and no picture of anything."""
    pixels = images.flatten(1)
    return pixels.gather(0, torch.rand(pixels.shape, generator=generator).argsort(dim=0)).view_as(images)


@pytest.mark.parametrize(
    "real",
    [
        "Digits",
        pytest.param("MNIST", marks=needs_real("MNIST")),
        pytest.param("Imagenette", marks=[needs_real("imagenette2-160"), pytest.mark.slow]),
    ],
    indirect=True,
)
def test_the_worse_images_are_the_farther(real: ImageDataModule):
    generator = torch.Generator().manual_seed(0)
    train, test = (real.split(name).images for name in ("train", "test"))
    train, test = (images[torch.randperm(len(images), generator=generator)[:500]] for images in (train, test))
    noise = torch.randint(0, 256, train.shape, dtype=torch.uint8, generator=generator)
    side = RealFeatures(features_of_real(test, real))
    floor, *worse = (
        side.frechet_distance(features_of_real(images, real))
        for images in (train, train.flip(2), shuffled_between_images(train, generator), noise)
    )
    assert worse == sorted(worse), worse
    assert worse[0] > 3 * floor


@cache
def extractor_of(image_shape: tuple[int, int, int], class_names: tuple[str, ...]) -> ReferenceExtractor:
    return ReferenceExtractor(image_shape, class_names, trained_on=None)


def features_of_real(images: Tensor, datamodule: ImageDataModule) -> Tensor:
    extractor = extractor_of(datamodule.image_shape, tuple(datamodule.class_names))
    return features_of(batches_of(images, 500), extractor, torch.device("cpu"), "features")

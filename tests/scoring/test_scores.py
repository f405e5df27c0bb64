"""Scores of samples: what they compare, the protocol they state, what they keep, and what they rank."""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from conftest import DATA_ROOT, Pixels, TinyImages, composed, needs_real
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torch_fidelity import calculate_metrics

from callbacks.sample_scores import SampleScores
from datamodules.image_datamodule import ImageDataModule
from datamodules.imagenette import Imagenette
from datamodules.mnist import MNIST
from foundation.errors import ConfigError
from jobs.building import build_model
from scoring import features as features_module
from scoring import scorer as scorer_module
from scoring.extractors import FeatureExtractor, InceptionExtractor, ReferenceExtractor, sha256
from scoring.features import GivenSamples, ModelSamples, features_of
from scoring.fidelity import RealFeatures
from scoring.protocol import content_hash, short_hash
from scoring.published import published_num_fakes, published_scores
from scoring.scorer import Scorer

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
    return SampleScores("pixels", extractor, datamodule, **(defaults | options))


def first_pixels(samples: ModelSamples, count: int, seed: int) -> Tensor:
    return torch.cat([make() for make in samples.draw(count, seed)]).flatten(1)[:, :5] / 255


# What is compared with what


@pytest.mark.parametrize("split", ["val", "test"])
def test_fid_is_of_a_draw_against_a_split(split: str, images: Pictured):
    samples = ModelSamples(gan(), 16)
    real = images.split(split).images.flatten(1)[:, :5] / 255
    expected = RealFeatures(real).frechet_distance(first_pixels(samples, len(real), seed=3))
    assert scorer_of(images).frechet_distance(samples, split, seed=3) == pytest.approx(expected, rel=1e-9)


def test_report_is_the_mean_and_deviation_over_draws_of_every_score(images: Pictured):
    samples, scorer = ModelSamples(gan(), 16), scorer_of(images, seed=5)
    report = scorer.report(samples, repeats=4)
    assert set(report.scores) == {
        "fid", "kid", "kid_subset_std", "precision", "recall", "density", "coverage", "missing_modes", "confidence",
        "nearest_train",
    }  # fmt: skip
    real = RealFeatures(images.split("test").images.flatten(1)[:, :5] / 255)
    drawn = [first_pixels(samples, 40, seed) for seed in (5, 6, 7, 8)]
    for name, values in {
        "fid": [real.frechet_distance(fakes) for fakes in drawn],
        "kid": [real.kernel_distance(fakes, seed=5)[0] for fakes in drawn],
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
    assert report.scores["kid"].floor == pytest.approx(real.kernel_distance(train, seed=0)[0])
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
    assert torch.equal(copies.closest, copies.neighbours)
    new = scorer_of(images).report(GivenSamples(images.split("test").images, 16), repeats=1)
    assert new.scores["nearest_train"].value == pytest.approx(1, abs=1e-6)
    assert not torch.equal(new.closest, new.neighbours)


def test_closest_pairs_are_fakes_of_the_first_draw_and_their_nearest_training_images(images: Pictured):
    samples, scorer = ModelSamples(gan(), 16), scorer_of(images)
    report = scorer.report(samples, repeats=2)
    fakes, train = first_pixels(samples, 40, seed=0), images.split("train").images.flatten(1)[:, :5] / 255
    distance, nearest = torch.cdist(fakes, train).min(dim=1)
    closest = distance.sort().indices[:10]
    torch.testing.assert_close(report.closest.flatten(1)[:, :5], fakes[closest])
    torch.testing.assert_close(report.neighbours.flatten(1)[:, :5], train[nearest[closest]])


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


@pytest.mark.parametrize("num_fakes", [None, 4])
def test_too_few_images_for_the_extractor_are_refused(num_fakes: int | None, tmp_path: Path):
    datamodule = Pictured(tmp_path, num_test=40 if num_fakes else 4)
    with pytest.raises(ConfigError, match="4 images are too few for fid_pixels, whose extractor has 5 features"):
        score(datamodule, num_fakes=num_fakes)


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
        "pixels": "uint8, rounded", "weights": "averaged (EMA) where the model keeps them", "seed": 5,
        "kid": "100 subsets of 20", "precision_recall": "k = 3", "density_coverage": "k = 5",
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


def test_models_of_either_kind_and_given_images_share_a_protocol(images: Pictured):
    vae = build_model(composed("model=vae", "network=mlp").model, TinyImages(SHAPE))
    given = GivenSamples(images.split("val").images.repeat(2, 1, 1, 1), 16)
    reports = [
        scorer_of(images).report(samples, 1) for samples in (ModelSamples(gan(), 16), ModelSamples(vae, 16), given)
    ]
    assert len({report.scores["fid"].protocol for report in reports}) == 1


def test_record_and_dashboard_carry_the_protocol(train_in):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_in("run", "model=gan", "network=mlp")
    record = json.loads((run / "metrics.json").read_text())
    (key,) = record["protocols"]
    assert key == short_hash(record["protocols"][key])
    assert {name.split("_")[-1] for name in record["scores"]} == {"reference"}
    for result in record["scores"].values():
        assert set(result) == {"value", "std", "floor", "protocol", "weights", "latents"} and result["protocol"] == key
        assert result["weights"] == "averaged (EMA)" and result["latents"] == "prior"
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    session = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert key.encode() in session
    for picture in ("nearest_train_final.png",):
        assert (run / "pictures" / picture).is_file()


# Published protocols


def test_published_numbers_are_those_of_their_sources():
    lucic = {score.model: (score.value, score.std) for score in published_scores("lucic2018")}
    assert lucic == {
        "MM GAN": (9.8, 0.9), "NS GAN": (6.8, 0.5), "LSGAN": (7.8, 0.6), "WGAN": (6.7, 0.4), "WGAN-GP": (20.3, 5.0),
        "DRAGAN": (7.6, 0.4), "BEGAN": (13.1, 1.0), "VAE": (23.8, 0.6), "2-Stage VAE": (12.6, 1.5),
    }  # fmt: skip
    assert [score.remark for score in published_scores("lucic2018") if score.model == "VAE"] == ["quoted from memory"]
    assert {score.model: (score.value, score.std) for score in published_scores(None)} == {
        "VAE": (19.52, 4.5), "GAN": (12.7, 3.5),
    }  # fmt: skip
    assert all("arXiv" in score.source or "report" in score.source for score in published_scores("lucic2018"))


def test_published_protocol_sets_the_number_of_fakes_and_refuses_what_it_does_not_cover(images: Pictured):
    assert published_num_fakes("lucic2018", None) == published_num_fakes("lucic2018", 10_000) == 10_000
    with pytest.raises(ConfigError, match=r"asks for 10,000 fakes, not scores\.num_fakes=500"):
        score(images, protocol="lucic2018", num_fakes=500)
    mnist = MNIST(root="unread", batch_size=100, seed=0, split_seed=0, device="auto")
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
    scorer_of(images, changed).frechet_distance(ModelSamples(gan(), 16), "test", 0)
    assert changed.calls == 6
    other = Pixels(SHAPE)
    other.protocol = {"extractor": "pixels", "sha256": "of other weights"}
    scorer_of(images, other).frechet_distance(ModelSamples(gan(), 16), "test", 0)
    assert other.calls == 6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "renamed"])
def test_damaged_features_are_made_again(damage: str, images: Pictured, capsys: pytest.CaptureFixture):
    samples = ModelSamples(gan(), 16)
    expected = scorer_of(images).frechet_distance(samples, "test", 0)
    (stored,) = images.folder.glob("features-*")
    content = bytearray(stored.read_bytes())
    if damage == "truncated":
        stored.write_bytes(content[:-7])
    elif damage == "flipped":
        content[-5] ^= 1
        stored.write_bytes(content)
    else:
        scorer_of(images).frechet_distance(samples, "val", 0)
        (val,) = set(images.folder.glob("features-*")) - {stored}
        stored.write_bytes(val.read_bytes())  # another split's features under this one's name
    extractor = Pixels(SHAPE)
    assert scorer_of(images, extractor).frechet_distance(samples, "test", 0) == expected
    assert extractor.calls == 6
    assert str(stored) in capsys.readouterr().out
    extractor = Pixels(SHAPE)
    scorer_of(images, extractor).frechet_distance(samples, "test", 0)
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
    if request.param == "MNIST":
        datamodule = MNIST(root=str(DATA_ROOT), batch_size=100, seed=0, split_seed=0, device="auto")
    else:
        (folder / "imagenette2-160").symlink_to(DATA_ROOT.resolve() / "imagenette2-160")
        datamodule = Imagenette(root=str(folder), image_size=64, batch_size=100, seed=0, split_seed=0, device="auto")
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
    side = RealFeatures(features_of_real(test))
    found = []
    for strength in strengths:
        kept = train.images[train.labels >= strength] if disturbance == "dropped classes" else train.images
        chosen = kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:300]]
        changed = change(chosen, strength, torch.Generator().manual_seed(0))
        found.append(side.frechet_distance(features_of_real(changed)))
    assert found == sorted(found), found
    assert found[-1] > 2 * found[0]


@functools.cache
def extractor_of(image_shape: tuple[int, int, int]) -> ReferenceExtractor:
    return ReferenceExtractor(image_shape)


def features_of_real(images: Tensor) -> Tensor:
    extractor = extractor_of(tuple(images.shape[1:]))
    return features_of(GivenSamples(images, 500).draw(len(images), 0), extractor, torch.device("cpu"))


# Inception, against torch-fidelity's own command


@pytest.mark.slow
def test_inception_fid_is_that_of_torch_fidelitys_command(inception_weights: Path, tmp_path: Path, monkeypatch):
    """The same folders and weights; narrowed to few images, for which a CPU has time."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator)
    fake = (torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=generator) * 0.7).to(torch.uint8)
    for name, images in (("real", real), ("fake", fake)):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{index:03d}.png")
    theirs = calculate_metrics(
        input1=str(tmp_path / "fake"), input2=str(tmp_path / "real"), fid=True, cuda=False, verbose=False, cache=False,
        feature_extractor_weights_path=str(inception_weights),
    )["frechet_inception_distance"]  # fmt: skip
    extractor = InceptionExtractor((3, 32, 32), str(inception_weights), "unused", sha256(inception_weights))
    real_features, fake_features = (
        features_of(GivenSamples(images, 12).draw(len(images), 0), extractor, torch.device("cpu"))
        for images in (real, fake)
    )
    ours = RealFeatures(real_features).frechet_distance(fake_features)
    assert ours == pytest.approx(theirs, rel=1e-3)

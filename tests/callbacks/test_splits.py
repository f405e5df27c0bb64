"""Every number and every picture is of the split it says: train to learn from, val to choose by, test to report."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from math import log
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import numpy as np
import pytest
import torch
from conftest import Pixels, TinyImages, composed
from PIL import Image
from torch import Tensor, nn

from callbacks.sample_scores import VAL_SEED
from jobs.building import build_callbacks, build_trainer
from lightning_modules.clippings import NoClipping
from lightning_modules.generative_model import GenerativeModel, HasLikelihood
from lightning_modules.schedules import ConstantSchedule
from lightning_modules.values import Batch, Latents
from run_folder import judgements
from run_folder.pictures import bare_grid
from scoring.features import ModelSamples
from scoring.fidelity import RealFeatures

SHAPE, LATENTS = (1, 8, 8), 5
# Grey levels by which one sees where an image comes from. What a model makes has some of its own.
BANDS = {"train": (0, 80), "made": (80, 90), "val": (90, 160), "test": (160, 250)}
BATCH_SIZE, REPEATS = 4, 2


class MarkedImages(TinyImages):
    """Splits that one can tell apart by their grey, none of a size that is a multiple of the batch's."""

    num_val, num_test = 10, 11

    def __init__(self, cache: Path) -> None:
        super().__init__(SHAPE, batch_size=BATCH_SIZE, num_learn=33)
        self.cache = cache

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        generator = torch.Generator().manual_seed(0)
        for name, data in self._splits.items():
            low, high = BANDS[name]
            # Each image a few levels around its own, so that batches differ.
            centre = torch.randint(low + 5, high - 5, (len(data.images), 1, 1, 1), generator=generator)
            noise = torch.randint(-5, 5, data.images.shape, generator=generator)
            data.images.copy_((centre + noise).to(torch.uint8))

    @property
    def cache_folders(self) -> list[Path]:
        return [self.cache]


def sources(images: Tensor | np.ndarray) -> set[str]:
    """Where images come from, by their grey: in [0, 1], or uint8."""
    levels = torch.as_tensor(images).flatten()
    if levels.is_floating_point():
        levels = (levels * 255).round()
    return {name for name, (low, high) in BANDS.items() if ((low <= levels) & (levels < high)).any()}


def grey(data: Batch) -> Tensor:
    """The mean grey of each image, (B,)."""
    return data.images.mean(dim=(1, 2, 3))


class Witness(GenerativeModel):
    """A model whose every number is of the images it is given, and which notes whose those are."""

    likelihood_kind, is_over_bytes = "grey", True

    def __init__(self) -> None:
        super().__init__(
            SHAPE, (LATENTS,), num_classes=None, ema_half_life=0.0, ema_ramp_up=0.0,
            schedule=ConstantSchedule(), clipping=NoClipping(),
        )  # fmt: skip
        self.layer = nn.Linear(1, 1)
        self.read: dict[tuple[str, str], set[str]] = defaultdict(set)

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"layer": self.layer}

    def note(self, what: str, images: Tensor) -> None:
        running = self.trainer.state.fn
        assert running is not None
        self.read[what, running.value] |= sources(images)

    def step(self, name: str, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        self.note(name, batch[0])
        return {"loss": grey(Batch(*batch)).mean() + 0 * self.layer.weight.sum()}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.step("training_step", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.step("validation_step", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self.step("test_step", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        for what, given in {"fit_latents": batches, "held_out": held_out}.items():
            for batch in given:
                self.note(what, batch.images)

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        return torch.rand(n, LATENTS)

    def decode(self, latents: Latents) -> Tensor:
        low, high = BANDS["made"]
        levels = (low + (high - 1 - low) * latents.z.clamp(0, 1)).repeat(1, 13)[:, :64]
        return (levels / 255).view(-1, *SHAPE)

    def encode(self, batch: Batch) -> Latents:
        """As many latents vary as the split's place in train, val, test."""
        self.note("encode", batch.images)
        (source,) = sources(batch.images)
        count = 1 + ["train", "val", "test"].index(source)
        return Latents(torch.rand(len(batch.images), LATENTS) * (torch.arange(LATENTS) < count))

    def log_importance_weights(self, batch: Batch, num_samples: int, at_once: int) -> Tensor:
        self.note("log_importance_weights", batch.images)
        return -grey(batch).expand(num_samples, -1)

    def kl_by_dimension(self, batch: Batch) -> Tensor:
        self.note("kl_by_dimension", batch.images)
        return grey(batch)[:, None].expand(-1, LATENTS)


class WatchedPixels(Pixels):
    """Pixels as features, which notes whose images it is shown."""

    shown: set[str]

    def forward(self, images: Tensor) -> Tensor:
        WatchedPixels.shown |= sources(images)
        return super().forward(images)


class Witnessed:
    """A run of everything that the default config has look on, over splits that can be told apart."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.model = folder, MarkedImages(folder / "cache"), Witness()
        cfg = composed(
            "data=digits", "trainer.max_epochs=2", "trainer.accelerator=cpu", "every_n_epochs=1",
            "trainer.log_every_n_steps=1", f"scores.repeats={REPEATS}", "callbacks.likelihood.batch_size=64",
            "callbacks.sample_grid.rows=2", "callbacks.reconstruction_grid.rows=1", "callbacks.health.judged_from=0",
            run_dir=folder,
        )  # fmt: skip
        cfg.scores.extractor = {"_target_": f"{__name__}.WatchedPixels", "_partial_": True}
        trainer = build_trainer(cfg, self.model, build_callbacks(cfg, self.data))
        self.scored: dict[str, set[str]] = {}  # whose images the extractor saw, in fit and in test
        WatchedPixels.shown = set()
        with patch.object(judgements, "EARLY_UNTIL", 0):
            trainer.fit(self.model, datamodule=self.data)
        self.scored["fit"], WatchedPixels.shown = WatchedPixels.shown, set()
        best = str(folder / "checkpoints" / "best.ckpt")
        trainer.test(self.model, datamodule=self.data, ckpt_path=best, verbose=False)
        self.scored["test"] = WatchedPixels.shown
        self.record = json.loads((folder / "metrics.json").read_text())

    def curve(self, name: str) -> list[float]:
        with open(self.folder / "metrics.csv", newline="") as file:
            return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]

    def grey_of(self, split: str) -> float:
        """The mean over a split's images, each of equal weight."""
        return float((self.data.split(split).images / 255).mean())

    def frechet_distance(self, split: str, seeds: Iterable[int]) -> float:
        """By its definition, of what the model makes and a split's images."""
        real, samples = self.data.split(split).images, ModelSamples(self.model, BATCH_SIZE)
        features = RealFeatures(pixels_of(real))
        draws = [torch.cat([make() for make in samples.draw(len(real), seed)]) for seed in seeds]
        return fmean(features.frechet_distance(pixels_of(fakes)) for fakes in draws)


def pixels_of(images: Tensor) -> Tensor:
    return images.flatten(1)[:, : Pixels.num_features] / 255


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    return Witnessed(tmp_path_factory.mktemp("witnessed"))


def test_the_witness_is_a_model_with_a_likelihood():
    assert isinstance(Witness(), HasLikelihood)


def test_every_reader_of_a_split_reads_its_own(run: Witnessed):
    assert dict(run.model.read) == {
        ("training_step", "fit"): {"train"},
        ("validation_step", "fit"): {"val"},
        ("test_step", "test"): {"test"},
        ("fit_latents", "fit"): {"train"},
        ("fit_latents", "test"): {"train"},
        ("held_out", "fit"): {"val"},
        ("held_out", "test"): {"val"},
        ("encode", "fit"): {"val"},  # reconstructions
        ("encode", "test"): {"val", "test"},  # reconstructions, and active units
        ("log_importance_weights", "test"): {"test"},
        ("kl_by_dimension", "fit"): {"val"},
        ("kl_by_dimension", "test"): {"test"},
    }
    # While training nobody looks at test. At the end training images are the floor, and the nearest ones.
    assert run.scored == {"fit": {"made", "val"}, "test": {"made", "test", "train"}}


def test_val_and_test_distances_are_to_val_and_test(run: Witnessed):
    expected = {split: run.frechet_distance(split, seeds=[VAL_SEED]) for split in ("train", "val", "test")}
    assert all(expected[split] != pytest.approx(expected["val"], rel=0.1) for split in ("train", "test"))
    assert run.curve("val/fid_reference") == [pytest.approx(expected["val"], rel=1e-6)] * 2
    reported = run.record["scores"]["test/fid_reference"]
    assert reported["value"] == pytest.approx(run.frechet_distance("test", range(REPEATS)), rel=1e-6)
    assert run.record["best_val_score"] == pytest.approx(expected["val"], rel=1e-6)


def test_floor_is_of_train_against_test(run: Witnessed):
    train, test = (pixels_of(run.data.split(split).images) for split in ("train", "test"))
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    expected = RealFeatures(test).frechet_distance(train[order[: len(test)]])
    assert run.record["scores"]["test/fid_reference"]["floor"] == pytest.approx(expected, rel=1e-6)


def test_nearness_to_train_is_measured_against_that_of_test(run: Witnessed):
    train, test = (pixels_of(run.data.split(split).images) for split in ("train", "test"))
    samples = ModelSamples(run.model, BATCH_SIZE)
    draws = [torch.cat([make() for make in samples.draw(len(test), seed)]) for seed in range(REPEATS)]
    made = fmean(float(torch.cdist(pixels_of(fakes), train).min(dim=1).values.median()) for fakes in draws)
    unseen = float(torch.cdist(test, train).min(dim=1).values.median())
    assert run.record["scores"]["test/nearest_train_reference"]["value"] == pytest.approx(made / unseen, rel=1e-4)


def test_losses_are_means_over_the_images_of_their_split(run: Witnessed):
    """Not over batches: the last one is smaller and of another mean, which must be seen here."""
    for split in ("val", "test"):
        means = [batch.mean() for batch in (run.data.split(split).images / 255).split(BATCH_SIZE)]
        assert float(torch.stack(means).mean()) != pytest.approx(run.grey_of(split), rel=1e-3)
    assert run.curve("val/loss") == [pytest.approx(run.grey_of("val"), rel=1e-5)] * 2
    assert run.record["test"]["test/loss"] == pytest.approx(run.grey_of("test"), rel=1e-5)
    low, high = BANDS["train"]
    assert len(run.curve("train/loss")) == 2 * 6 and all(low <= 255 * loss < high for loss in run.curve("train/loss"))


def test_likelihoods_and_latents_in_use_are_of_test(run: Witnessed):
    scores = run.record["scores"]
    assert scores["test/nll"]["value"] == pytest.approx(run.grey_of("test"), rel=1e-5)
    assert scores["test/bits_per_dim"]["value"] == pytest.approx(run.grey_of("test") / (64 * log(2)), rel=1e-5)
    assert scores["test/active_units"]["value"] == 3  # as many as `encode` lets vary on test
    assert scores["test/active_latents"]["value"] == LATENTS
    assert run.record["kl_by_dimension"] == [pytest.approx(run.grey_of("test"), abs=1e-4)] * LATENTS
    for name in ("nll", "bits_per_dim", "active_latents", "active_units"):
        assert run.record["protocols"][scores[f"test/{name}"]["protocol"]]["split"] == "test"


def test_pictures_show_what_they_say(run: Witnessed):
    shown: dict[str, set[str]] = defaultdict(set)
    for path in (run.folder / "pictures").rglob("*.png"):
        picture = Image.open(path)
        bare = bare_grid(picture)
        assert (bare.size != picture.size) == (path.parent.name != "charts")
        shown[path.parent.name] |= sources(np.array(bare))
    shown.pop("charts")  # matplotlib's
    assert shown == {
        "samples_fixed": {"made"},
        "samples_fresh": {"made"},
        "interpolation_line": {"made"},
        "interpolation_slerp": {"made"},
        "reconstructions": {"val", "made"},
        "nearest_train": {"train", "made"},
    }

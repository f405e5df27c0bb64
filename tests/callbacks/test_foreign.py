"""Pictures and scores of a LightningModule and a DataModule that know nothing of this project."""

from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Pixels
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from callbacks.foreign_data import real_images
from callbacks.interpolation import Interpolation
from callbacks.reconstruction_grid import ReconstructionGrid
from callbacks.sample_grid import SampleGrid
from callbacks.sample_scores import SampleScores
from datamodules.pixels import not_pixels, to_uint8
from foundation.errors import UserError
from lightning_modules.foreign import as_generative
from run_folder.curves import read_rows
from scoring.features import ModelSamples


class Autoencoder(LightningModule):
    """Of somebody else: a few lines, with an `encode` that is not this project's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 4), nn.Linear(4, 64)

    def sample_latents(self, n: int) -> Tensor:
        return torch.randn(n, 4, device=self.device)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).sigmoid().view(-1, 1, 8, 8)

    def encode(self, images: Tensor) -> Tensor:
        return self.encoder(images.flatten(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.decode(self.encode(batch[0])) - batch[0]).square().mean()

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Squares(LightningDataModule):
    """Of somebody else: loaders, and nothing that this project's data modules have besides."""

    def __init__(self, as_bytes: bool = False, has_labels: bool = True) -> None:
        super().__init__()
        self.as_bytes, self.has_labels = as_bytes, has_labels

    def images(self, seed: int, count: int) -> TensorDataset:
        pixels = torch.randint(0, 256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).byte()
        images = pixels if self.as_bytes else pixels / 255
        return TensorDataset(images, torch.arange(count) % 3) if self.has_labels else TensorDataset(images)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.images(0, 24), batch_size=8, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.images(1, 10), batch_size=8)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.images(2, 10), batch_size=8)


class SplitSquares(Squares):
    """Whose setup splits what it trains on at random."""

    def __init__(self, split_seed: int | None) -> None:
        super().__init__()
        self.split_seed = split_seed

    def prepare_data(self) -> None:
        torch.rand(3)

    def setup(self, stage: str) -> None:
        own = None if self.split_seed is None else torch.Generator().manual_seed(self.split_seed)
        self.train, self.val = random_split(self.images(0, 34), [24, 10], generator=own)

    def train_dataloader(self) -> DataLoader:
        flipped = [(image.flip(2) if torch.rand(()) < 0.5 else image, label) for image, label in self.train]
        return DataLoader(flipped, batch_size=8, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, batch_size=8, shuffle=True)


def scores_of(datamodule: LightningDataModule) -> SampleScores:
    return SampleScores(
        name="pixels",
        extractor=partial(Pixels, (1, 8, 8)),
        datamodule=datamodule,
        protocol=None,
        num_fakes=None,
        num_train=None,
        repeats=2,
        batch_size=4,
        seed=0,
    )


def trained(folder: Path, datamodule: LightningDataModule, observers: list) -> tuple[Trainer, Autoencoder]:
    torch.manual_seed(0)
    model = Autoencoder()
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=2,
        callbacks=observers,
        logger=[CSVLogger(folder, "csv", ""), TensorBoardLogger(folder, "board", "")],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    torch.manual_seed(1)
    trainer.fit(model, datamodule=datamodule)
    trainer.test(model, datamodule=datamodule, verbose=False)
    return trainer, model


def test_pictures_and_scores_of_a_foreign_model_on_foreign_data(tmp_path: Path):
    datamodule = Squares()
    pictures = [SampleGrid(seed=0, columns=3, rows=2), Interpolation(seed=0, rows=2, steps=4)]
    best = ModelCheckpoint(tmp_path / "checkpoints", monitor="val/fid_pixels", filename="best")
    score = scores_of(datamodule)
    trainer, _ = trained(tmp_path, datamodule, [score, *pictures, ReconstructionGrid(seed=0, columns=2, rows=1), best])
    names = {str(path.relative_to(tmp_path / "pictures")) for path in (tmp_path / "pictures").rglob("*.png")}
    assert names >= {
        f"{name}/{stage}.png"
        for name in ("samples_fixed", "samples_fresh", "interpolation_line", "interpolation_slerp")
        for stage in ("epoch_0001", "epoch_0002", "final")
    }
    assert "nearest_train/final.png" in names and not any(name.startswith("reconstructions") for name in names)
    assert {"test/fid_pixels", "test/kid_pixels", "test/recall_pixels", "test/nearest_train_pixels"} <= set(
        score.results
    )
    assert float(trainer.callback_metrics["test/fid_pixels"]) == pytest.approx(score.results["test/fid_pixels"].value)
    assert best.best_model_score is not None and (tmp_path / "checkpoints" / "best.ckpt").is_file()
    steps = [step for step, row in read_rows(tmp_path / "csv" / "metrics.csv") if "val/fid_pixels" in row]
    assert steps == [3, 6]  # Lightning's global_step: three batches an epoch


def test_scores_of_a_foreign_model_are_those_of_its_images(tmp_path: Path):
    datamodule = Squares()
    score = scores_of(datamodule)
    _, model = trained(tmp_path, datamodule, [score])
    draw = ModelSamples(model, batch_size=4).draw(10, seed=0)
    fakes = torch.cat([make() for make in draw])
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        assert torch.equal(fakes, to_uint8(model.decode(model.sample_latents(10))))


def test_looking_on_changes_no_weight_of_a_foreign_model(tmp_path: Path):
    datamodule = Squares()
    _, alone = trained(tmp_path / "a", datamodule, [])
    watched = [scores_of(datamodule), SampleGrid(seed=0, columns=3, rows=2)]
    _, seen = trained(tmp_path / "b", datamodule, watched)
    for name, weight in alone.state_dict().items():
        assert torch.equal(weight, seen.state_dict()[name])


def test_a_split_at_random_that_the_trainer_would_not_draw_again_is_refused():
    state = torch.random.get_rng_state()
    says = r"SplitSquares\.val_dataloader gives other images.* give random_split a generator of its own"
    with pytest.raises(UserError, match=says):
        real_images(SplitSquares(split_seed=None))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_image_that_val_is_scored_by_is_trained_on_after_a_split_at_random(tmp_path: Path):
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    datamodule = SplitSquares(split_seed=3)
    score = scores_of(datamodule)
    assert torch.equal(torch.random.get_rng_state(), state)
    trained(tmp_path, datamodule, [score])
    val = score.scorer.datamodule.split("val").images
    assert len(val) == 10
    for image, _ in datamodule.train:
        assert not (val == to_uint8(image)).flatten(1).all(1).any()


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("has_labels", [False, True])
def test_images_of_foreign_loaders_are_all_there_once(as_bytes: bool, has_labels: bool):
    state = torch.random.get_rng_state()
    datamodule = Squares(as_bytes, has_labels)
    images = real_images(datamodule)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (images.title, images.class_names, images.num_val, images.num_test) == ("Squares", (), 10, 10)
    expected = Squares(as_bytes=True).images(0, 24).tensors
    found = images.split("train")
    order = [int((found.images == image).flatten(1).all(1).nonzero()) for image in expected[0]]
    assert sorted(order) == list(range(24)) and found.images.dtype == torch.uint8
    assert torch.equal(found.labels[order], expected[1] if has_labels else torch.zeros(24).long())


def test_an_empty_batch_among_others_is_passed_over():
    datamodule = Squares()
    datamodule.val_dataloader = lambda: [
        torch.zeros(0, 1, 8, 8),
        torch.ones(2, 1, 8, 8),
        torch.zeros(0, 1, 8, 8).byte(),
    ]
    assert torch.equal(real_images(datamodule).split("val").images, torch.full((2, 1, 8, 8), 255).byte())


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (torch.tensor([0, 255], dtype=torch.uint8), None),
        (torch.tensor([0.0, 1.0]).half(), None),
        (torch.zeros(0), None),
        (torch.tensor([0.5, torch.nan]), "torch.float32 from nan to nan"),
        (torch.tensor([-0.25, 1.0]).double(), "torch.float64 from -0.25 to 1"),
        (torch.tensor([0.0, 1.5]), "torch.float32 from 0 to 1.5"),
        (torch.tensor([True]), "torch.bool"),
    ],
)
def test_pixels_are_bytes_or_floats_in_the_unit_range(images: Tensor, expected: str | None):
    assert not_pixels(images) == expected


def test_a_module_that_offers_no_images_is_told_what_is_needed():
    class Nothing(LightningModule):
        def decode(self, z: Tensor) -> Tensor:
            return z

    with pytest.raises(UserError, match=r"has no sample_latents\. Pictures and scores need sample_latents\(n\)"):
        as_generative(Nothing())
    model = Autoencoder()
    model.decode = lambda z: 2 * torch.ones(len(z), 1, 8, 8)
    seen = as_generative(model)
    with pytest.raises(UserError, match="decode returned images from 2 to 2"):
        seen.decode(seen.sample_latents(2))
    model.decode = lambda z: z
    with pytest.raises(UserError, match=r"decode returned torch.float32 of the shape \(2, 4\)"):
        seen.decode(seen.sample_latents(2))
    model.sample_latents = lambda n: [0] * n
    with pytest.raises(UserError, match=r"sample_latents\(2\) returned list"):
        seen.sample_latents(2)


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        (lambda: [torch.zeros(2, 1, 8, 8) - 1], r"Squares\.val_dataloader gives torch\.float32 from -1 to -1"),
        (lambda: [torch.full((2, 1, 8, 8), torch.nan)], "gives torch.float32 from nan to nan"),
        (lambda: [torch.zeros(2, 1, 8, 8).long()], "gives torch.int64"),
        (lambda: [torch.zeros(2, 1, 8, 8, dtype=torch.complex64)], "gives torch.complex64"),
        (lambda: [torch.zeros(0, 1, 8, 8)], r"Squares\.val_dataloader gives no images"),
        (lambda: [{"image": torch.zeros(2, 1, 8, 8)}], r"Squares\.val_dataloader gives dicts"),
        (lambda: [], r"Squares\.val_dataloader gives no images"),
        (lambda: None, r"Squares\.val_dataloader gives no images"),
    ],
)
def test_loaders_of_something_else_are_refused(loader, says: str):
    datamodule = Squares()
    datamodule.val_dataloader = loader
    with pytest.raises(UserError, match=says):
        real_images(datamodule)

"""What training sees of an image: its mirror image at times, or coins for its pixels; what everyone else sees of it."""

from pathlib import Path

import pytest
import torch
from conftest import Pixels, TinyImages
from lightning import LightningModule, Trainer
from small_data import PLAIN, write_images
from torch import Tensor

from callbacks.epoch_seed import EpochSeed
from datamodules.digits import Digits
from datamodules.folder import Folder
from datamodules.image_datamodule import DataError, ImageDataModule, binarized, mirrored_at_random
from datamodules.mnist import MNIST
from foundation.errors import ConfigError
from scoring.published import check_matches_published
from scoring.scorer import Scorer

SPLITS = ("train", "val", "test")
HALF = 0.5


class Onlooker(LightningModule):
    """Keeps what it is given, in training and in validation, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seen: dict[str, list[list[Tensor]]] = {"train": [], "val": []}

    def on_train_epoch_start(self) -> None:
        self.seen["train"].append([])

    def on_validation_epoch_start(self) -> None:
        self.seen["val"].append([])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen["train"][-1].append(batch[0])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen["val"][-1].append(batch[0])

    def configure_optimizers(self) -> None:
        return None


def digits(horizontal_flip: bool = False, binarize: bool = False, split_seed: int = 0) -> Digits:
    datamodule = Digits(
        batch_size=100, seed=0, split_seed=split_seed, device="auto", horizontal_flip=horizontal_flip, binarize=binarize
    )
    datamodule.setup()
    return datamodule


def seen(datamodule: ImageDataModule, epochs: int = 2) -> dict[str, list[Tensor]]:
    """By split, the images of every epoch in the order in which a model is given them, (N, C, H, W) in [0, 1]."""
    model = Onlooker()
    Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[EpochSeed(0)],
    ).fit(model, datamodule=datamodule)  # fmt: skip
    return {split: [torch.cat(images) for images in by_epoch] for split, by_epoch in model.seen.items()}


pytestmark = pytest.mark.filterwarnings("ignore:.*configure_optimizers. returned .None.")


def test_by_default_training_sees_images_as_they_are_and_nothing_is_drawn():
    images = digits().split("train").images
    for epoch in seen(digits())["train"]:
        assert torch.equal(epoch.flatten(1).sort(dim=0).values, (images.float() / 255).flatten(1).sort(dim=0).values)
    datamodule = digits()
    datamodule.trainer = type("Trainer", (), {"training": True})
    state = torch.get_rng_state()
    given, _ = datamodule.on_after_batch_transfer((images, torch.zeros(len(images))), 0)
    assert torch.equal(given, images.float() / 255) and torch.equal(torch.get_rng_state(), state)


# Mirror images


def test_each_image_is_mirrored_as_a_whole_at_a_chance_of_one_half():
    images = torch.randint(0, 256, (4000, 3, 2, 5), dtype=torch.uint8)
    torch.manual_seed(0)
    drawn = mirrored_at_random(images)
    mirrored = (drawn == images.flip(3)).flatten(1).all(dim=1)
    assert ((drawn == images).flatten(1).all(dim=1) | mirrored).all()
    assert mirrored.float().mean().item() == pytest.approx(HALF, abs=4 * (HALF**2 / 4000) ** 0.5)
    assert drawn.dtype == torch.uint8


def test_training_sees_mirror_images_at_random_and_validation_none():
    plain, flipped = seen(digits(), epochs=3), seen(digits(horizontal_flip=True), epochs=3)
    chosen = []
    for ours, theirs in zip(flipped["train"], plain["train"], strict=True):  # in one order: it draws from no generator
        is_mirrored = (ours == theirs.flip(3)).flatten(1).all(dim=1)
        assert ((ours == theirs).flatten(1).all(dim=1) | is_mirrored).all()
        assert is_mirrored.float().mean().item() == pytest.approx(HALF, abs=0.06)
        chosen.append(is_mirrored)
    assert not torch.equal(chosen[0], chosen[1])  # each epoch draws its own
    for ours, theirs in zip(flipped["val"], plain["val"], strict=True):
        assert torch.equal(ours, theirs)
    for split in SPLITS:
        assert torch.equal(digits(horizontal_flip=True).split(split).images, digits().split(split).images)


# Coins


def test_pixels_are_white_at_a_chance_of_their_grey():
    greys = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    torch.manual_seed(0)
    drawn = binarized(greys.repeat(100_000, 1, 1, 1))
    assert drawn.dtype == torch.uint8 and drawn.unique().tolist() == [0, 255]
    chance = greys.double() / 255
    share = (drawn == 255).double().mean(dim=(0, 1, 2))
    torch.testing.assert_close(share, chance, rtol=0, atol=4 * (0.25 / 100_000) ** 0.5)
    assert share[0] == 0 and share[-1] == 1 and 0 < share[1] < share[-2] < 1  # black and white are certain


def test_every_visit_of_training_draws_its_own_coins_and_val_keeps_its_own():
    plain, coins = seen(digits(), epochs=3), seen(digits(binarize=True), epochs=3)
    for ours in [*coins["train"], *coins["val"]]:
        assert ours.unique().tolist() == [0, 1]
    differs = []
    for ours, greys in zip(coins["train"], plain["train"], strict=True):
        certain = (greys == 0) | (greys == 1)
        assert torch.equal(ours[certain], greys[certain])
        # The sum of independent coins: within four of its standard deviations of its mean.
        deviation = (greys * (1 - greys)).double().sum().sqrt().item()
        assert ours.double().sum().item() == pytest.approx(greys.double().sum().item(), abs=4 * deviation)
        differs.append(ours != plain["train"][0])
    by_order = [epoch.flatten(1) for epoch in coins["train"]]
    assert not torch.equal(by_order[0], by_order[1])
    assert torch.equal(coins["val"][0], coins["val"][1]) and torch.equal(coins["val"][0], coins["val"][2])
    assert torch.equal(coins["val"][0], digits(binarize=True).split("val").images.float() / 255)


def test_whoever_reads_a_split_sees_one_draw_that_split_seed_decides():
    first, again, grey = digits(binarize=True), digits(binarize=True), digits()
    other = digits(binarize=True, split_seed=1)
    torch.manual_seed(5)
    for split in SPLITS:
        images, labels = first.split(split)
        assert images.unique().tolist() == [0, 255] and torch.equal(images, again.split(split).images)
        greys, same_labels = grey.split(split)
        assert torch.equal(labels, same_labels)
        certain = (greys == 0) | (greys == 255)
        assert torch.equal(images[certain], greys[certain]) and not torch.equal(images > 127, greys > 127)
        assert first.split_hashes[split] != grey.split_hashes[split]
    assert not torch.equal(first.split("test").images, other.split("test").images)  # of the same grey images
    assert torch.equal(grey.split("test").images, digits(split_seed=1).split("test").images)
    assert first.training_images(50)[0].unique().tolist() == [0, 1]


def test_reading_binary_splits_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    digits(binarize=True)
    assert torch.equal(torch.get_rng_state(), state)


class Binary(TinyImages):
    """Tiny images, grey or binary, whose cache is one folder."""

    def __init__(self, folder: Path, binarize: bool) -> None:
        super().__init__((1, 4, 4), num_learn=40)
        self.folder, self.binarize = folder, binarize
        self.setup()

    @property
    def cache_folders(self) -> list[Path]:
        return [self.folder]


def test_scores_of_binary_images_share_no_cache_with_those_of_grey_ones(tmp_path: Path):
    def measured(folder: Path, binarize: bool) -> tuple[Tensor, dict]:
        scorer = Scorer(Pixels((1, 4, 4)), Binary(folder, binarize), None, None, batch_size=8, seed=0)
        return scorer._real("test").features, scorer._scores_of_real(scorer.protocol)

    measured(tmp_path / "shared", binarize=False)
    ours, theirs = measured(tmp_path / "shared", binarize=True), measured(tmp_path / "own", binarize=True)
    assert torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]
    assert ours[0].unique().tolist() == [0, 1]


def test_binary_images_are_none_of_a_published_protocol():
    data = MNIST(root="unread", batch_size=100, seed=0, split_seed=0, **PLAIN | {"binarize": True})
    assert data.title == "MNIST, binarized"
    with pytest.raises(ConfigError, match="asks for data MNIST, not MNIST, binarized"):
        check_matches_published("lucic2018", data=data.title)
    assert "; binarized" in digits(binarize=True).summary and "binarized" not in digits().summary


def test_a_folder_that_does_not_fit_in_the_memory_is_not_binarized(tmp_path: Path):
    root = write_images(tmp_path / "images", ["a", "b"], count=20)
    folder = Folder(
        str(root), image_size=8, channels=3, batch_size=4, seed=0, split_seed=0, **PLAIN | {"binarize": True},
        background="white", num_val=None, num_test=None, memory_share=0.0,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data\.binarize=true needs its images in memory.*data\.memory_share=0\.0"):
        folder.setup()

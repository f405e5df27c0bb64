"""Shared by the tests: tiny images, composed configs, and where the real data lies."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule, LabelledImages
from jobs.command_line import quiet_libraries
from jobs.composition import composed
from scoring.extractors import FeatureExtractor

PROJECT = Path(__file__).parents[1]
DATA_ROOT = Path(os.environ.get("DATA_ROOT", PROJECT.parent / "shared" / "data"))

quiet_libraries()
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)


def needs_real(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (DATA_ROOT / folder).is_dir(), reason=f"real data: no {DATA_ROOT / folder}; set DATA_ROOT"
    )


class TinyImages(ImageDataModule):
    """Random images of any shape, enough for a few batches of four."""

    class_names = ("a", "b", "c")
    num_val = 8
    num_test = 8

    def __init__(self, image_shape: tuple[int, int, int], batch_size: int = 4, num_learn: int = 16) -> None:
        super().__init__(batch_size, seed=0, split_seed=0, device="auto", horizontal_flip=False, binarize=False)
        self.image_shape, self.num_learn = image_shape, num_learn

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        generator = torch.Generator().manual_seed(0)
        learn, test = (
            LabelledImages(
                torch.randint(0, 256, (n, *self.image_shape), dtype=torch.uint8, generator=generator),
                torch.randint(0, 3, (n,), generator=generator),
            )
            for n in (self.num_learn, self.num_test)
        )
        return learn, test


class Pixels(FeatureExtractor):
    """Some pixels as features, and the brightest of three of them as the class."""

    num_features = 5
    class_names = TinyImages.class_names

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.calls = 0
        self.protocol = {"extractor": "pixels"}

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        self.calls += 1
        return images.flatten(1)[:, : self.num_features].float() / 255

    def classify(self, features: Tensor) -> Tensor:
        return (20 * features[:, :3]).softmax(dim=1)


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache folder is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def switches_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program sets for the processes that it starts is not inherited by those of later tests."""
    for switch in ("HYDRA_FULL_ERROR", "VAE_VS_GAN_FULL_ERROR"):
        monkeypatch.setenv(switch, "0")


@pytest.fixture(autouse=True)
def freed_memory_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program sets for its process, for good, is not set for that of all tests: its heap would grow over all of
    them, and the system once refused to fork it.
    """
    for user in ("jobs.command_line", "benchmarks.loops", "benchmarks.variants"):
        monkeypatch.setattr(f"{user}.keep_freed_memory", lambda: None)


@pytest.fixture
def train_in(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Run train.py's train on digits, short and small unless overridden; returns the run folder."""
    from train import train

    def run(name: str, *overrides: str) -> Path:
        short = ["data=digits", "trainer.max_epochs=2", "trainer.accelerator=cpu", "every_n_epochs=1"]
        pictures = [] if "model=classifier" in overrides else SMALL_PICTURES
        run_dir = tmp_path / name
        train(composed(*short, *pictures, *overrides, run_dir=run_dir))
        return run_dir

    yield run


# Every part that works at run time, in one model of each family.
RICH = {
    "vae": ["model=vae", "model/prior=vamp", "model.prior.num_components=5", "model/density=gaussian_mixture",
            "model.density.num_components=3", "model/conditioning=label", "model.ema_half_life=1000"],
    "gan": ["model=gan", "model/loss=relativistic", "model/constraint=spectral_norm", "model/augmentation=diff_augment",
            "model/conditioning=label", "model.n_critic=2"],
    "vaegan": ["model=vaegan", "model/prior=mixture", "model.prior.num_components=3", "model/density=gaussian_mixture",
               "model.density.num_components=3", "model/constraint=spectral_norm", "model/conditioning=label"],
    "vqvae": ["model=vqvae", "model/conditioning=label", "model.density.num_steps=20"],
}  # fmt: skip
SMALL_PICTURES = [
    "callbacks.sample_grid.rows=2",
    "callbacks.sample_grid.columns=2",
    "callbacks.interpolation.rows=1",
    "callbacks.reconstruction_grid.rows=1",
]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]

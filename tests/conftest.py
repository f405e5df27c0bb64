"""Shared by the tests: tiny images, composed configs, and where the real data lies."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from conf.command_line import folder_name, quiet_libraries
from datamodules.image_datamodule import ImageDataModule, LabelledImages

PROJECT = Path(__file__).parents[1]
DATA_ROOT = Path(os.environ.get("DATA_ROOT", PROJECT.parent / "shared" / "data"))

quiet_libraries()
torch.set_num_threads(1)  # tests run beside each other


def needs_real(folder: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (DATA_ROOT / folder).is_dir(), reason=f"real data: no {DATA_ROOT / folder}; set DATA_ROOT"
    )


def composed(*overrides: str, run_dir: Path | None = None, config: str = "config") -> DictConfig:
    """The config that `train.py <overrides>` would be given."""
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose(config, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(run_dir or "unused")
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        OmegaConf.resolve(cfg.choices) if "choices" in cfg else None
        plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    return plain


class TinyImages(ImageDataModule):
    """Random images of any shape, enough for a few batches of four."""

    class_names = ("a", "b", "c")
    num_val = 8
    num_test = 8

    def __init__(self, image_shape: tuple[int, int, int], batch_size: int = 4, num_learn: int = 16) -> None:
        super().__init__(batch_size, seed=0, split_seed=0)
        self.image_shape, self.num_learn = image_shape, num_learn

    def read(self) -> tuple[LabelledImages, LabelledImages]:
        generator = torch.Generator().manual_seed(0)
        return tuple(
            LabelledImages(
                torch.randint(0, 256, (n, *self.image_shape), dtype=torch.uint8, generator=generator),
                torch.randint(0, 3, (n,), generator=generator),
            )
            for n in (self.num_learn, self.num_test)
        )


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache folder is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of the Inception network's form, with random numbers."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.torch.load", lambda *_, **__: None)
        network = FeatureExtractorInceptionV3("random", ["2048"], feature_extractor_weights_path="unused")
    torch.save(network.state_dict(), path)
    return path


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

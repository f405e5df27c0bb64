"""A family of its own, an autoencoder with a yaml, gets all that the house has for generative models."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from annotated_types import Ge
from conftest import SMALL_PICTURES, TinyImages, composed
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Optimizer

from foundation.errors import ConfigError
from jobs.building import build_model
from jobs.config_check import check
from lightning_modules.clippings import Clipping
from lightning_modules.generative_model import Encodes, GenerativeModel, HasLikelihood
from lightning_modules.schedules import Schedule
from lightning_modules.values import Batch, Latents
from train import train


class Autoencoder(GenerativeModel):
    """Descends the squared error; its latents, of two dimensions, are drawn from a Gaussian fitted to train's."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        rows: Annotated[int, Ge(1)],
        columns: Annotated[int, Ge(1)],
        ema_half_life: Annotated[float, Ge(0)],
        ema_ramp_up: Annotated[float, Ge(0)],
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        schedule: Schedule,
        clipping: Clipping,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        super().__init__(image_shape, (rows, columns), None, ema_half_life, ema_ramp_up, schedule, clipping)
        self.encoder = encoder(image_shape=self.image_shape, num_outputs=rows * columns)
        self.decoder = decoder(image_shape=self.image_shape, latent_dim=rows * columns)
        self.register_buffer("mean", torch.zeros(rows, columns))
        self.register_buffer("scale", torch.ones(rows, columns))
        self.optimizer = optimizer
        self.keep_averages("encoder", "decoder")

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return {"loss": mse_loss(self.decode(self.encode(Batch(*batch))), batch[0])}

    validation_step = test_step = training_step

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)

    def encode(self, batch: Batch) -> Latents:
        return Latents(self.in_use(self.encoder)(batch.images).unflatten(1, self.latent_shape))

    def decode(self, latents: Latents) -> Tensor:
        return self.in_use(self.decoder)(latents.z.flatten(1)).sigmoid()

    def fit_latents(self, batches: Iterable[Batch], held_out: Iterable[Batch]) -> None:
        z = torch.cat([self.encode(batch).z for batch in batches])
        self.mean.copy_(z.mean(dim=0))
        self.scale.copy_(z.std(dim=0))

    def sample_z(self, n: int, labels: Tensor | None) -> Tensor:
        return self.mean + self.scale * torch.randn(n, *self.latent_shape, device=self.device)

    @property
    def latents_from(self) -> str:
        return "gaussian"


class Unordered(Autoencoder):
    """Of which what lies between two latents makes no images."""

    interpolates = False


YAML = """
defaults:
  - schedule: constant
  - clipping: none
  - _self_

_target_: {target}
_partial_: true
_convert_: all
rows: 2
columns: 3
ema_half_life: 1000
ema_ramp_up: 0.05
encoder: ${{network.encoder}}
decoder: ${{network.decoder}}
optimizer:
  _target_: torch.optim.Adam
  _partial_: true
  lr: 0.001
"""


@pytest.fixture
def config_of(tmp_path: Path) -> Callable[..., Any]:
    """Composes a config with the choices model=autoencoder and model=unordered, which are in no folder of conf/."""
    for target in (Autoencoder, Unordered):
        path = tmp_path / "conf" / "model" / f"{target.__name__.lower()}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(YAML.format(target=f"{target.__module__}.{target.__name__}"))
    short = ["network=mlp", "network.encoder.width=32", "network.decoder.width=32", "data=digits", "every_n_epochs=1"]
    short += ["trainer.max_epochs=2", "trainer.accelerator=cpu", f"hydra.searchpath=[file://{tmp_path}/conf]"]

    def compose(name: str, *overrides: str) -> Any:
        return composed(*short, *SMALL_PICTURES, *overrides, run_dir=tmp_path / name)

    return compose


def test_family_shows_what_it_can_by_what_it_defines(config_of: Callable[..., Any]):
    model = build_model(config_of("run", "model=autoencoder").model, TinyImages((1, 8, 8)))
    assert isinstance(model, Encodes) and not isinstance(model, HasLikelihood)


def test_third_family_gets_pictures_scores_averages_and_checkpoints(config_of: Callable[..., Any], tmp_path: Path):
    train(config_of("run", "model=autoencoder"))
    run = tmp_path / "run"
    record = json.loads((run / "metrics.json").read_text())
    score = record["scores"]["test/fid_reference"]
    assert score["value"] > score["floor"] > 0 and score["weights"] == "averaged (EMA)"
    assert score["latents"] == "gaussian"
    assert not any("nll" in name for name in record["scores"])
    assert record["model"] == "autoencoder" and set(record["parameters"]) == {"total", "encoder", "decoder"}
    drawn = {path.parent.name for path in (run / "pictures").glob("*/final.png")}
    assert drawn == {
        "samples_fixed", "samples_fresh", "interpolation_line", "interpolation_slerp", "reconstructions",
        "nearest_train",
    }  # fmt: skip
    for picture in (run / "pictures").rglob("*.*"):
        Image.open(picture).verify()
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    averaged, raw = (last["state_dict"][f"{name}1.weight"] for name in ("averages.encoder.module.", "encoder."))
    assert not torch.equal(averaged, raw) and last["averaged_until"] == 2 * 1197
    assert last["state_dict"]["scale"].shape == (2, 3) and not torch.equal(
        last["state_dict"]["scale"], torch.ones(2, 3)
    )


def test_third_family_resumes_to_the_bit(config_of: Callable[..., Any], tmp_path: Path):
    options = ["model=autoencoder", "scores=none"]
    train(config_of("uninterrupted", *options, "trainer.max_epochs=3"))
    train(config_of("part", *options, "trainer.max_epochs=2"))
    ckpt_path = tmp_path / "part" / "checkpoints" / "last.ckpt"
    train(config_of("resumed", *options, "trainer.max_epochs=3", f"ckpt_path={ckpt_path}"))
    ours, theirs = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("uninterrupted", "resumed")
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_family_that_does_not_interpolate_has_no_such_picture(config_of: Callable[..., Any], tmp_path: Path):
    train(config_of("run", "model=unordered", "scores=none", "trainer.max_epochs=1"))
    names = {path.name for path in (tmp_path / "run" / "pictures").iterdir()}
    assert "samples_fixed" in names and "reconstructions" in names
    assert not any("interpolation" in name for name in names)


def test_third_familys_values_are_checked_by_its_annotations(config_of: Callable[..., Any]):
    check(config_of("run", "model=autoencoder"))
    with pytest.raises(ConfigError, match=r"model\.rows: expected at least 1, got 0"):
        check(config_of("run", "model=autoencoder", "model.rows=0"))

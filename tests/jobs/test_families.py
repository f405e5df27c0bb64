"""Whole runs of the families that are neither a VAE nor a GAN: what they show, and that they resume exactly."""

import json

import pytest
import torch
from conftest import RICH

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]
SHOWN = {
    "vaegan": ({"interpolation_line", "interpolation_slerp", "reconstructions"}, "gaussian_mixture of 3"),
    "vqvae": ({"reconstructions"}, "autoregressive_codes"),
}


@pytest.mark.parametrize("family", SHOWN)
def test_a_run_shows_what_its_family_can_do(family: str, train_in):
    pictures, latents = SHOWN[family]
    run = train_in("run", *RICH[family], *MLP, "trainer.max_epochs=1")
    record = json.loads((run / "metrics.json").read_text())
    assert record["model"] == family and record["scores"]["test/fid_reference"]["latents"] == latents
    assert not any(name in record["scores"] for name in ("test/nll", "test/active_latents"))
    drawn = {path.parent.name for path in (run / "pictures").glob("*/final.png")}
    assert drawn == {"samples_fixed", "samples_fresh", "nearest_train"} | pictures


@pytest.mark.parametrize("family", SHOWN)
def test_a_resumed_run_ends_as_an_uninterrupted_one(family: str, train_in):
    options = [*RICH[family], *MLP, "scores=none"]
    whole = train_in("whole", *options, "trainer.max_epochs=3")
    part = train_in("part", *options, "trainer.max_epochs=2")
    last = f"ckpt_path={part / 'checkpoints' / 'last.ckpt'}"
    resumed = train_in("resumed", *options, "trainer.max_epochs=3", last)
    ours, theirs = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (whole, resumed)
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)

"""A finished run again: the same scores, and samples in the field's exchange format."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RICH, composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image
from small_data import PLAIN

from callbacks.latent_fit import fit_latents
from datamodules.digits import Digits
from datamodules.pixels import to_uint8
from foundation.errors import UserError
from jobs.building import build_datamodule, build_model
from jobs.evaluation import evaluate
from jobs.restoring import restore, restored_model
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing
from run_folder.checkpoints import FORMAT, CheckpointError, read_checkpoint
from run_folder.records import project_version
from scoring.given_images import read_images

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]


def again(run: Path, *overrides: str) -> None:
    cfg = composed(f"run={run}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None  # a run is rebuilt from its folder alone
    evaluate(cfg)


def built(run: Path) -> ImageModel:
    """A run's model with random weights."""
    cfg = OmegaConf.load(run / "config.yaml")
    return build_model(cfg.model, build_datamodule(cfg.data))


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_scores_and_pictures_are_those_of_the_run(model: str, train_in):
    run = train_in("run", f"model={model}", *MLP)
    again(run)
    trained = json.loads((run / "metrics.json").read_text())
    evaluated = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert evaluated["scores"] == trained["scores"]
    assert evaluated["test"] == trained["test"]
    assert evaluated["checkpoint"] == trained["checkpoint"] == "checkpoints/best.ckpt"
    assert evaluated["version"] == trained["version"] == project_version()
    finals = [path.relative_to(run) for path in (run / "pictures").glob("*/final.png")]
    assert len(finals) == (6 if model == "vae" else 5)
    for picture in finals:
        assert (run / "evaluation" / picture).read_bytes() == (run / picture).read_bytes()


def test_samples_of_a_model_that_knows_labels_come_with_them(train_in, tmp_path: Path):
    run = train_in("run", *RICH["gan"], *MLP)
    again(run, "scores=none", "samples=600", f"out={tmp_path / 'samples.npz'}", "seed=3")
    with np.load(tmp_path / "samples.npz") as archive:
        samples, labels = archive["arr_0"], archive["arr_1"]
    assert samples.shape == (600, 8, 8, 1) and labels.shape == (600,) and set(labels) == set(range(10))
    model = built(run)
    path = run / "checkpoints" / "best.ckpt"
    restore(model, read_checkpoint(path), path)
    with observing(model, seed=3):
        first = model.sample_latents(500)
        assert torch.equal(first.labels, torch.from_numpy(labels[:500]))
        assert torch.equal(to_uint8(model.decode(first)).permute(0, 2, 3, 1), torch.from_numpy(samples[:500]))


def test_samples_go_to_npz_as_the_field_exchanges_them(train_in, tmp_path: Path):
    run = train_in("run", "model=gan", *MLP)
    again(run, "scores=none", "samples=700", f"out={tmp_path / 'samples.npz'}", "seed=3")
    with np.load(tmp_path / "samples.npz") as archive:
        assert archive.files == ["arr_0"]
        samples = archive["arr_0"]
    assert samples.shape == (700, 8, 8, 1) and samples.dtype == np.uint8
    model = built(run)
    path = run / "checkpoints" / "best.ckpt"
    restore(model, read_checkpoint(path), path)
    with observing(model, seed=3):
        first = to_uint8(model.decode(model.sample_latents(500)))
    assert torch.equal(torch.from_numpy(samples[:500]).permute(0, 3, 1, 2), first)


def test_samples_go_to_a_folder_as_png(train_in, tmp_path: Path):
    run = train_in("run", *MLP)
    again(run, "scores=none", "samples=11", f"out={tmp_path}/images/")
    files = sorted((tmp_path / "images").iterdir())
    assert [path.name for path in files] == [f"{index:06d}.png" for index in range(11)]
    assert np.asarray(Image.open(files[0])).shape == (8, 8)


def test_another_checkpoint_can_be_evaluated(train_in):
    run = train_in("run", *MLP)
    again(run, "checkpoint=last.ckpt")
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["checkpoint"] == "checkpoints/last.ckpt"


def test_averaged_weights_are_restored(train_in):
    run = train_in("run", "model=gan", *MLP)
    stored = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    model = built(run)
    before = {name: weight.clone() for name, weight in model.averages["generator"].state_dict().items()}
    path = run / "checkpoints" / "best.ckpt"
    restore(model, read_checkpoint(path), path)
    for name, weight in model.averages["generator"].state_dict().items():
        assert torch.equal(weight, stored["state_dict"][f"averages.generator.{name}"])
    assert any(not torch.equal(weight, before[name]) for name, weight in model.averages["generator"].named_parameters())
    assert model.images_seen == stored["images_seen"]


def test_classifier_runs_can_be_evaluated(train_in):
    run = train_in("run", "model=classifier", *MLP)
    again(run)
    evaluated = json.loads((run / "evaluation" / "metrics.json").read_text())
    trained = json.loads((run / "metrics.json").read_text())
    assert evaluated["test"] == trained["test"] and 0 < trained["test"]["test/accuracy"] <= 1


@pytest.mark.parametrize(
    ("stated", "writer"),
    [({}, "0.1"), ({"format": 1, "version": "0.1.7"}, "0.1.7"), ({"format": 9, "version": "0.9"}, "0.9")],
)
def test_run_of_a_version_with_another_format_is_refused_naming_it(stated: dict, writer: str, train_in):
    run = train_in("run", *MLP)
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint.pop("format") == FORMAT and checkpoint.pop("version") == project_version()
    torch.save(checkpoint | stated, path)
    says = rf"best.ckpt was written by version {writer} of this project.*Check out the version that wrote it"
    with pytest.raises(CheckpointError, match=says):
        again(run)
    with pytest.raises(CheckpointError, match=says):
        train_in("resumed", *MLP, "trainer.max_epochs=3", f"ckpt_path={path}")


# Another density


def test_another_density_is_fitted_to_the_same_weights_and_recorded_apart(train_in, tmp_path: Path):
    run = train_in("run", *MLP, "model/density=gaussian")
    again(run)
    own = (run / "evaluation" / "metrics.json").read_bytes()
    other_density = ["model/density=gaussian_mixture", "model.density.num_components=3"]
    again(run, *other_density)
    assert (run / "evaluation" / "metrics.json").read_bytes() == own
    folders = [run / "evaluation", run / "evaluation" / "density-gaussian_mixture_density.num_components-3"]
    first, other = (json.loads((folder / "metrics.json").read_text()) for folder in folders)
    fids = [record["scores"]["test/fid_reference"] for record in (first, other)]
    assert [fid["latents"] for fid in fids] == ["gaussian", "gaussian_mixture of 3"]
    assert fids[0]["value"] != fids[1]["value"] and fids[0]["protocol"] == fids[1]["protocol"]
    for key in ("checkpoint", "checkpoint_epoch", "images_seen", "test"):
        assert first[key] == other[key]
    assert first["scores"]["test/nll"] == other["scores"]["test/nll"]  # the prior's
    names = {"samples_fixed/final.png", "interpolation_slerp/final.png"}
    for name in names:
        pictures = [folder / "pictures" / name for folder in folders]
        assert pictures[0].read_bytes() != pictures[1].read_bytes()
    # Samples are of the density that was asked for, fitted as it was for the scores.
    again(run, *other_density, "samples=20", f"out={tmp_path / 'samples.npz'}", "seed=3")
    cfg = OmegaConf.load(run / "config.yaml")
    density = composed(f"run={run}", *other_density, config="evaluate").model.density
    model, _ = restored_model(cfg, run, asked={"density": density})
    datamodule = build_datamodule(cfg.data)
    datamodule.setup()
    assert not model.latents_are_fitted and cfg.model.density._target_.endswith("GaussianDensity")
    fit_latents(model, datamodule, cfg.seed)
    assert model.latents_are_fitted and model.latents_from == "gaussian_mixture of 3"
    with np.load(tmp_path / "samples.npz") as archive, observing(model, seed=3):
        expected = to_uint8(model.decode(model.sample_latents(20)))
        assert torch.equal(torch.from_numpy(archive["arr_0"]).permute(0, 3, 1, 2), expected)


def test_own_density_fitted_anew_is_the_run_s(train_in):
    run = train_in("run", *MLP, "model/density=gaussian_mixture", "model.density.num_components=2")
    again(run, "model/density=gaussian_mixture", "model.density.num_components=2")
    trained = json.loads((run / "metrics.json").read_text())
    again(run, "model/density=gaussian_mixture", "model.density.num_components=[3]")  # in a folder of its own
    folder = run / "evaluation" / "density-gaussian_mixture_density.num_components-2"
    assert json.loads((folder / "metrics.json").read_text())["scores"] == trained["scores"]


def test_density_is_refused_for_models_that_have_none_and_for_other_latents(train_in):
    run = train_in("run", "model=gan", *MLP)
    with pytest.raises(UserError, match=r"model/density: the model of .* draws its latents from no density"):
        again(run, "model/density=gaussian")


# Images that some other program made


def digits_as(folder: Path, kind: str, count: int = 300) -> Path:
    datamodule = Digits(batch_size=100, seed=0, split_seed=0, **PLAIN)
    datamodule.setup()
    images = datamodule.split("train").images[:count, 0].numpy()
    if kind == "npz":
        np.savez(folder / "others.npz", images[..., None])
        return folder / "others.npz"
    (folder / "others").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / "others" / f"{index:05d}.png")
    return folder / "others"


def score_images(path: Path, folder: Path, *overrides: str) -> dict:
    cfg = composed(
        f"images={path}", "data=digits", f"folder={folder}", "accelerator=cpu", *overrides, config="evaluate"
    )
    evaluate(cfg)
    return json.loads((folder / "metrics.json").read_text())


def test_images_of_others_are_scored_under_the_protocol_of_runs(train_in, tmp_path: Path):
    run = train_in("run", "model=gan", *MLP)
    again(run, "samples=300", f"out={tmp_path / 'samples.npz'}", "seed=0")
    scored = score_images(tmp_path / "samples.npz", tmp_path / "scored", "name=others")
    trained = json.loads((run / "metrics.json").read_text())
    assert scored["model"] == "others" and scored["data"] == "digits" and scored["num_images"] == 300
    assert list(scored["protocols"]) == list(trained["protocols"])
    assert set(scored["scores"]) == set(trained["scores"])
    # The same 300 images as the run's first draw of fakes.
    fids = [result["scores"]["test/fid_reference"] for result in (scored, trained)]
    assert fids[0]["floor"] == fids[1]["floor"]
    assert abs(fids[0]["value"] - fids[1]["value"]) < 4 * fids[1]["std"]
    assert (tmp_path / "scored" / "pictures" / "nearest_train" / "final.png").is_file()


def test_a_folder_and_an_npz_of_the_same_images_score_the_same(tmp_path: Path):
    first = score_images(digits_as(tmp_path, "npz"), tmp_path / "a")
    second = score_images(digits_as(tmp_path, "folder"), tmp_path / "b")
    assert first["scores"] == second["scores"] and first["model"] == "others"
    assert first["scores"]["test/nearest_train_reference"]["value"] == pytest.approx(0, abs=1e-3)


def test_given_images_come_as_they_are(tmp_path: Path):
    pixels = torch.randint(0, 256, (3, 3, 6, 5), dtype=torch.uint8)
    np.savez(tmp_path / "some.npz", pixels.permute(0, 2, 3, 1).numpy())
    assert torch.equal(read_images(tmp_path / "some.npz", (3, 6, 5), "white"), pixels)
    (tmp_path / "some" / "below").mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "some" / "below" / f"{index}.PNG")
    assert torch.equal(read_images(tmp_path / "some", (3, 6, 5), "white"), pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected an .npz file or a folder of image files"),
        ("no archive", r"can't be read as an .npz"),
        ({"other": np.zeros(3)}, r"no array of the form \(N, 8, 8, 1\) .*; it holds other: float64 \(3,\)\. .* arr_0"),
        ({"arr_0": np.full((9, 8, 8, 1), 2.0)}, r"float64 \(9, 8, 8, 1\), from 2 to 2: it is not plain"),
        ({"arr_0": np.zeros((9, 8, 8, 1), np.uint8)}, "9 images, the protocol asks for 300"),
    ],
)
def test_images_that_cannot_be_scored_are_refused(content: dict | str | None, message: str, tmp_path: Path):
    if isinstance(content, dict):
        np.savez(tmp_path / "given.npz", **content)
    elif content:
        (tmp_path / "given.npz").write_text(content)
    with pytest.raises(UserError, match=message):
        score_images(tmp_path / "given.npz", tmp_path / "scored")
    assert not (tmp_path / "scored").exists()


def test_a_folder_without_images_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="has no images; set images= to a folder that has"):
        read_images(tmp_path, (1, 8, 8), "white")


def test_advice_for_too_few_images_works(tmp_path: Path):
    images = digits_as(tmp_path, "npz", count=200)
    with pytest.raises(UserError, match=r"such as scores=reference scores\.num_fakes=200"):
        score_images(images, tmp_path / "scored")
    scored = score_images(images, tmp_path / "scored", "scores=reference", "scores.num_fakes=200")
    (protocol,) = scored["protocols"].values()
    assert protocol["num_fakes"] == 200


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_without_scores_nothing_is_scored(model: str, train_in):
    run = train_in("run", f"model={model}", *MLP)
    again(run, "scores=none")
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["scores"] == {}


def test_other_scores_of_the_same_weights_are_kept_and_those_of_others_are_not(train_in):
    run = train_in("run", "model=gan", *MLP)
    path = run / "evaluation" / "metrics.json"
    again(run)
    again(run, "scores=reference", "scores.name=again", "scores.num_fakes=200")
    both = json.loads(path.read_text())
    assert {"test/fid_reference", "test/fid_again"} <= set(both["scores"])
    counts = {
        both["protocols"][both["scores"][f"test/fid_{name}"]["protocol"]]["num_fakes"]
        for name in ("reference", "again")
    }
    assert counts == {300, 200} and len(both["protocols"]) == 2
    del both["checksum"]
    path.write_text(json.dumps(both | {"images_seen": 1}))  # as other weights under the same name would say
    again(run)
    assert "test/fid_again" not in json.loads(path.read_text())["scores"]
    assert set(json.loads(path.read_text())["protocols"]) == {both["scores"]["test/fid_reference"]["protocol"]}
    path.write_text("{")
    with pytest.raises(UserError, match=r"metrics\.json can't be read: .*move .*metrics\.json away"):
        again(run)


def test_an_image_of_another_size_or_damaged_is_named(tmp_path: Path):
    folder = digits_as(tmp_path, "folder", count=3)
    Image.new("L", (9, 8)).save(folder / "00001.png")
    with pytest.raises(UserError, match=r"00001\.png is 9x8, expected 8x8"):
        read_images(folder, (1, 8, 8), "white")
    (folder / "00001.png").write_text("none")
    with pytest.raises(UserError, match=r"00001\.png is no readable image"):
        read_images(folder, (1, 8, 8), "white")


def test_scores_of_images_do_not_overwrite_earlier_ones(tmp_path: Path):
    images = digits_as(tmp_path, "npz")
    score_images(images, tmp_path / "scored")
    with pytest.raises(UserError, match=r"already holds a run.*folder="):
        score_images(images, tmp_path / "scored")


def test_a_gans_latents_are_truncated_where_that_is_asked_for(train_in, tmp_path: Path):
    run = train_in("run", "model=gan", *MLP)
    for threshold in (0.5, 1e-6):
        again(run, f"model.truncation={threshold}")
    trained = json.loads((run / "metrics.json").read_text())
    assert not (run / "evaluation" / "metrics.json").exists()  # which would speak for the run
    half, least = (
        json.loads((run / "evaluation" / f"truncation-{threshold}" / "metrics.json").read_text())
        for threshold in (0.5, 1e-6)
    )
    assert trained["scores"]["test/fid_reference"]["latents"] == "prior"
    assert half["scores"]["test/fid_reference"]["latents"] == "prior, truncated at 0.5"
    assert least["scores"]["test/fid_reference"]["latents"] == "prior, truncated at 1e-06"
    # All samples are nearly one image; the real ones are those of the run.
    assert least["sample_diversity"] < 0.01 < half["sample_diversity"] < trained["sample_diversity"]
    assert half["protocols"] == trained["protocols"] and half["checkpoint"] == trained["checkpoint"]

    again(run, "model.truncation=1e-6", "samples=20", f"out={tmp_path / 'samples.npz'}")
    samples = np.load(tmp_path / "samples.npz")["arr_0"].astype(int)
    assert np.abs(samples - samples[:1]).max() <= 1


def test_a_change_that_a_model_cannot_have_is_refused(train_in, tmp_path: Path):
    run = train_in("run", "model=vae", *MLP, "scores=none")
    with pytest.raises(UserError, match=r"model\.truncation: lightning_modules\.vae\.VAE has no such option"):
        again(run, "model.truncation=0.7")
    gan = train_in("gan", "model=gan", *MLP, "scores=none")
    with pytest.raises(UserError, match=r"model\.truncation: expected more than 0 or null, got -1"):
        again(gan, "model.truncation=-1")
    images = digits_as(tmp_path, "npz")
    with pytest.raises(UserError, match=r"model\.truncation: images= has no model that could be changed"):
        evaluate(composed(f"images={images}", "data=digits", "model.truncation=0.7", config="evaluate"))

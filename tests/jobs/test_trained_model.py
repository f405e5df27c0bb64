"""A run's model used from Python and by `evaluate.py out=`: it needs the folder alone, and takes what is plain."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT, RICH, composed
from exported_runs import write_run
from hydra.core.hydra_config import HydraConfig

from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_uint8
from evaluate import load_run
from foundation.errors import ConfigError, UserError
from jobs.evaluation import evaluate
from jobs.given_to_model import GivenValueError, latents_of_model
from jobs.samples import read_latents
from jobs.trained_model import TrainedModel
from lightning_modules.gan import GAN
from lightning_modules.image_model import ImageModel
from lightning_modules.vae import VAE
from lightning_modules.values import Batch, Latents
from run_folder.checkpoints import AtomicCheckpointIO, read_exported
from run_folder.layout import CHECKPOINTS, WEIGHTS

PLAIN = {"vae": ["model=vae"], "gan": ["model=gan"], "vaegan": ["model=vaegan"], "classifier": ["model=classifier"]}
MODELS = PLAIN | {f"{name} of labels": overrides for name, overrides in RICH.items()}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run folders as they are exported, of models that learned nothing but their latents' density."""
    made = {name: write_run(tmp_path_factory.mktemp("run"), *overrides) for name, overrides in MODELS.items()}
    return made.__getitem__


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("prepare_data", "setup"):
        monkeypatch.setattr(ImageDataModule, method, lambda *_: pytest.fail("the data was read"))


def loaded(folder: Path) -> TrainedModel:
    return load_run(folder, device="cpu")


def some_images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "classifier"])
def test_a_run_makes_images_from_its_folder_alone(name: str, folder_of, no_data):
    model = loaded(folder_of(name))
    images = model.sample(7)
    assert images.shape == (7, 1, 8, 8) and images.dtype == torch.float32 and not images.requires_grad
    assert images.min() >= 0 and images.max() <= 1 and len(images.unique(dim=0)) > 1
    drawn = model.draw(7, seed=1)
    assert torch.equal(model(drawn.z.numpy(), drawn.labels), model.sample(7, seed=1))
    assert not model.module.training and (drawn.labels is not None) == (model.class_names is not None)


@pytest.mark.parametrize("name", ["vae", "gan of labels"])
def test_a_seed_alone_decides_samples_and_without_one_torch_does(name: str, folder_of):
    model = loaded(folder_of(name))
    state = torch.random.get_rng_state()
    first = model.sample(600, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model.sample(600, seed=3), first) and not torch.equal(model.sample(600, seed=4), first)
    torch.manual_seed(5)
    drawn = model.sample(3)
    assert not torch.equal(model.sample(3), drawn)
    torch.manual_seed(5)
    assert torch.equal(model.sample(3), drawn)


@pytest.mark.parametrize(
    "given",
    [
        7,
        "7",
        [7],
        torch.tensor([7]),
        np.array([7]),
        [7] * 6,
        [np.int64(7)],
        np.int64(7),
        np.str_("7"),
        torch.tensor(7),
        range(7, 8),
    ],
)
def test_a_label_is_a_number_or_a_name_and_holds_for_all(given, folder_of):
    model = loaded(folder_of("gan of labels"))
    assert model.draw(6, given).labels.tolist() == [7] * 6


def test_a_count_and_a_seed_may_be_numpys(folder_of):
    model = loaded(folder_of("vae"))
    assert torch.equal(model.sample(np.int32(4), seed=np.uint64(3)), model.sample(4, seed=3))


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint32, np.uint64])
def test_codes_may_be_of_any_whole_numbers(kind: type, folder_of):
    model = loaded(folder_of("vqvae of labels"))
    codes: np.ndarray = np.ones((2, *model.latent_shape), kind)
    assert torch.equal(model(codes, 0), model(torch.ones(2, *model.latent_shape).long(), 0))


def test_several_labels_are_taken_in_turn_and_decide_the_image(folder_of):
    model = loaded(folder_of("vae of labels"))
    assert model.draw(5, ["3", 1]).labels.tolist() == [3, 1, 3, 1, 3]
    z = torch.zeros(2, *model.latent_shape)
    same, other = model(z, 4), model(z, [4, 5])
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], other[0]) and not torch.equal(other[0], other[1])


@pytest.mark.parametrize("name", ["vae", "vaegan", "vae of labels", "vqvae of labels"])
def test_images_are_encoded_and_made_again(name: str, folder_of, no_data):
    model, images = loaded(folder_of(name)), some_images(1100)  # more than go through a network at once
    labels = None if model.class_names is None else torch.arange(1100) % 10
    z = model.encode(images, labels)
    with torch.no_grad():
        expected = model.module.encode(Batch(images[700:703], None if labels is None else labels[700:703])).z
    assert z.shape == (1100, *model.latent_shape)
    torch.testing.assert_close(z[700:703], expected)
    torch.testing.assert_close(model.reconstruct(images, labels), model(z, labels))


def test_bytes_and_floats_of_the_same_images_are_the_same(folder_of):
    model, pixels = loaded(folder_of("vae")), to_uint8(some_images())
    for same in (pixels.numpy(), pixels / 255, (pixels / 255).double().numpy()):
        torch.testing.assert_close(model.encode(same), model.encode(pixels))


@pytest.mark.parametrize(
    ("name", "ask", "says"),
    [
        ("gan", lambda model: model.encode(some_images()), "a GAN has no encoder"),
        ("gan of labels", lambda model: model.reconstruct(some_images(), 3), "a GAN has no encoder"),
        ("vae", lambda model: model.sample(4, labels=3), "labels: this model knows none"),
        ("vae", lambda model: model.sample(0), "samples: expected a whole number, at least 1, got 0"),
        ("vae", lambda model: model.sample(2.5), "samples: expected a whole number, at least 1, got 2.5"),
        ("vae", lambda model: model.sample("3"), "samples: expected a whole number, at least 1, got '3'"),
        ("vae", lambda model: model.sample(True), "samples: expected a whole number, at least 1, got True"),
        ("vae", lambda model: model.sample(None), "samples: expected a whole number, at least 1, got None"),
        ("vae", lambda model: model.sample(2, seed="a"), "seed: expected a whole number .* got 'a'"),
        ("vae", lambda model: model.sample(2, seed=2**64), "seed: .* from 0 to 18446744073709551615, got 18446"),
        ("vae", lambda model: model("abc"), "latents: expected finite numbers .* got a str that is no tensor"),
        ("vae", lambda model: model([[1.0], [1.0, 2.0]]), "latents: expected finite .* got a list that is no tensor"),
        ("vae", lambda model: model([[10**30] * 16]), "latents: expected finite .* got a list that is no tensor"),
        ("vae", lambda model: model.encode(None), r"images: expected uint8, .* got a NoneType that is no tensor"),
        ("vae", lambda model: model.encode({"a": 1}), r"images: expected uint8, .* got a dict that is no tensor"),
        ("vae", lambda model: model(np.array([["a"] * 16])), "got a ndarray that is no tensor"),
        ("vae", lambda model: model.encode(2 * some_images()), r"floats in \[0, 1\].* got torch.float32 from 0"),
        ("vae", lambda model: model.encode(some_images() * torch.nan), "got torch.float32 from nan to nan"),
        ("vae", lambda model: model.encode(torch.zeros(2, 1, 8, 8).long()), "got torch.int64"),
        ("vae", lambda model: model.encode(some_images()[0]), r"\(N, 1, 8, 8\), got the shape \(1, 8, 8\)"),
        ("vae", lambda model: model(torch.zeros(3)), r"shape \(N, \d+\), got the shape \(3,\)"),
        ("vae", lambda model: model(torch.full((2, *model.latent_shape), torch.inf)), "expected finite numbers"),
        ("gan of labels", lambda model: model(torch.zeros(2, *model.latent_shape)), "has to be given them: numbers"),
        ("gan of labels", lambda model: model.sample(4, labels="cat"), "no 'cat'; expected numbers from 0 to 9, or"),
        ("gan of labels", lambda model: model.sample(4, labels=3.0), "labels: expected numbers from 0 .*; got 3.0"),
        ("gan of labels", lambda model: model.sample(4, labels=[3.0]), "there is no 3.0"),
        ("gan of labels", lambda model: model.sample(4, labels=[[1, 2]]), r"there is no \[1, 2\]"),
        ("gan of labels", lambda model: model.sample(4, labels=[0, 10]), "there is no 10"),
        ("gan of labels", lambda model: model.sample(4, labels=True), "there is no True"),
        ("gan of labels", lambda model: model.sample(2, labels=[1, 2, 3]), "at most 2, one for each image; got 3"),
        ("gan of labels", lambda model: model.sample(2, labels=[]), "expected at least 1"),
        ("vae of labels", lambda model: model.encode(some_images()), "has to be given them"),
        ("vqvae of labels", lambda model: model(torch.zeros(2, *model.latent_shape), 0), "codes, whole numbers from 0"),
        ("vqvae of labels", lambda model: model(torch.full((2, *model.latent_shape), 10**6), 0), "codes, whole number"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_or_take_is_said(name: str, ask: Callable, says: str, folder_of):
    with pytest.raises(GivenValueError, match=says):
        ask(loaded(folder_of(name)))


def test_folders_devices_and_checkpoints_that_are_none_are_refused(folder_of, tmp_path: Path):
    for wrong, says in [
        (lambda: load_run(tmp_path), "is no run folder"),
        (lambda: load_run("x" * 5000), r"x… can't be a run folder: File name too long"),
        (lambda: load_run("a\0b"), "is no run folder"),
        (lambda: load_run("~nobody.at.all/run"), "run: .*there is no home folder ~nobody.at.all"),
        (lambda: load_run(folder_of("vae"), device="meta"), "device: meta can't be used"),
        (lambda: load_run(folder_of("classifier")), "a model that makes no images"),
        (lambda: load_run(folder_of("vae"), device="abacus"), "device: abacus can't be used"),
        (lambda: load_run(folder_of("vae"), checkpoint="other.ckpt"), "there is no checkpoint"),
        (lambda: load_run(folder_of("vae"), truncation=0.5), r"model\.truncation: .*VAE has no such option"),
    ]:
        with pytest.raises(UserError, match=says):
            wrong()


def test_latents_that_were_never_fitted_are_not_drawn_but_given_ones_are_decoded(tmp_path: Path):
    overrides = ["model=vae", "model/density=gaussian"]
    folder = write_run(tmp_path, *overrides)
    model = loaded(folder)
    model.sample(2)
    model.module.images_seen += 1  # the density was fitted to other weights
    with pytest.raises(GivenValueError, match=r"not fitted to its weights.*evaluate\.py run=… samples="):
        model.sample(2)
    assert model.reconstruct(some_images()).shape == (5, 1, 8, 8)


def test_a_gans_latents_are_truncated_on_request(folder_of):
    drawn = load_run(folder_of("gan"), device="cpu", truncation=0.1).draw(50).z
    assert 0.05 < drawn.abs().max() <= 0.1


@pytest.mark.parametrize("family", [VAE, GAN, ImageModel])
def test_a_checkpoint_alone_says_how_its_run_is_loaded(family: type, tmp_path: Path):
    run = write_run(tmp_path / "run", "model=gan")
    path = run / CHECKPOINTS / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(read_exported(run / WEIGHTS), path)
    with pytest.raises(UserError, match="from evaluate import load_run; ") as refused:
        family.load_from_checkpoint(path, map_location="cpu")
    module = eval(str(refused.value).rpartition("; ")[2], {"load_run": load_run})
    assert isinstance(module, GAN) and not module.training


def test_a_run_of_the_zoo_is_loaded(no_data):
    model = load_run(PROJECT / "zoo" / "vae_digits")
    images = model.sample(16, seed=0)
    again = model.reconstruct(images)
    assert (again - images).abs().mean() < 0.25 * (images - images.mean(dim=0)).abs().mean()


# evaluate.py out=


def write(folder: Path, out: Path, *overrides: str) -> None:
    cfg = composed(f"run={folder}", f"out={out}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)


def in_file(images: torch.Tensor) -> np.ndarray:
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", ["vae", "gan of labels", "vqvae of labels"])
def test_written_samples_are_those_of_python(name: str, folder_of, no_data, tmp_path: Path):
    write(folder_of(name), tmp_path / "a.npz", "samples=501", "seed=3")
    assert np.array_equal(np.load(tmp_path / "a.npz")["arr_0"], in_file(loaded(folder_of(name)).sample(501, seed=3)))


def test_samples_of_chosen_classes_are_written(folder_of, no_data, tmp_path: Path):
    write(folder_of("gan of labels"), tmp_path / "a.npz", "samples=5", "labels=[3,'8']")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["arr_1"].tolist() == [3, 8, 3, 8, 3]
        expected = loaded(folder_of("gan of labels")).sample(5, [3, 8], seed=0)
        assert np.array_equal(archive["arr_0"], in_file(expected))


def test_images_of_given_latents_are_written(folder_of, no_data, tmp_path: Path):
    model = loaded(folder_of("gan of labels"))
    z, labels = np.random.default_rng(0).normal(size=(6, *model.latent_shape)), np.arange(6)
    expected = in_file(model(z, labels))
    np.save(tmp_path / "z.npy", z)
    np.savez(tmp_path / "z.npz", z, labels)
    write(folder_of("gan of labels"), tmp_path / "a.npz", f"latents={tmp_path / 'z.npz'}")
    write(folder_of("gan of labels"), tmp_path / "b.npz", f"latents={tmp_path / 'z.npy'}", "labels=[0,1,2,3,4,5]")
    for name in ("a.npz", "b.npz"):
        assert np.array_equal(np.load(tmp_path / name)["arr_0"], expected)
        assert np.load(tmp_path / name)["arr_1"].tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"latents: expected an \.npy or \.npz file, and .* is none"),
        ("no array", "latents: .* can't be read as"),
        (np.zeros((2, 3)), r"latents: expected finite numbers of the shape \(N, \d+\), got the shape \(2, 3\)"),
        (np.array([{}]), "latents: .* can't be read as"),
        (np.array(["a"]), "expected numbers"),
        (np.float32(3), "latents: .* holds a single number"),
        (np.zeros((0, 3)), r"latents: .* got the shape \(0, 3\)"),
    ],
)
def test_latents_that_are_none_are_refused(content, says: str, folder_of, tmp_path: Path):
    if isinstance(content, np.ndarray | np.generic):
        np.save(tmp_path / "z.npy", content)
    elif content:
        (tmp_path / "z.npy").write_text(content)
    with pytest.raises(UserError, match=says):
        write(folder_of("vae"), tmp_path / "a.npz", f"latents={tmp_path / 'z.npy'}")
    assert not (tmp_path / "a.npz").exists()


def test_an_archive_that_is_called_an_array_is_refused(folder_of, tmp_path: Path):
    np.savez(tmp_path / "z.npz", np.zeros((2, 16)))
    (tmp_path / "z.npz").rename(tmp_path / "z.npy")
    with pytest.raises(ConfigError, match=r"latents: .* is an \.npz by its content; rename it"):
        write(folder_of("vae"), tmp_path / "a.npz", f"latents={tmp_path / 'z.npy'}")


@pytest.mark.parametrize("name", ["z.npy", "z.npz"])
def test_latents_that_would_fill_the_memory_are_not_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    z = np.zeros((1000, 125))  # a MB
    if name == "z.npy":
        np.save(tmp_path / name, z)
    else:
        np.savez(tmp_path / name, z)
    assert read_latents(tmp_path / name).z.shape == z.shape
    monkeypatch.setattr("scoring.given_arrays.machine_memory", lambda: 1_900_000)
    with pytest.raises(ConfigError, match=r"latents: .* has 0\.001 GB of .*, more than half of the memory"):
        read_latents(tmp_path / name)


def test_archive_of_latents_has_no_other_arrays(folder_of, tmp_path: Path):
    np.savez(tmp_path / "z.npz", codes=np.zeros((2, 16)))
    with pytest.raises(ConfigError, match=r"latents: expected arr_0, and arr_1 for labels, .* which has codes"):
        write(folder_of("vae"), tmp_path / "a.npz", f"latents={tmp_path / 'z.npz'}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["run={run}", "samples=20"], r"samples: say where the samples go: out=samples\.npz"),
        (["run={run}", "labels=0"], "labels: say where"),
        (["run={run}", "latents=z.npy"], "latents: say where"),
        (["run={run}", "labels=-1", "out=a"], "labels: expected .*got -1"),
        (["run={run}", "labels=1.5", "out=a"], "labels: expected "),
        (["run={run}", "labels=0", "out=a"], "labels: this model knows none"),
        (["run={run}", "latents=z.npy", "samples=3", "out=a"], "samples: latents= says how many"),
        (["images=x.npz", "data=digits", "samples=3"], "samples: images= has no model"),
    ],
)
def test_samples_that_would_go_nowhere_or_that_cannot_be_are_refused(
    overrides: list[str], says: str, folder_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run = folder_of("vae")
    with pytest.raises(UserError, match=says):
        evaluate(composed(*(part.format(run=run) for part in overrides), config="evaluate"))
    assert not list(tmp_path.iterdir())


def test_latents_split_as_they_were_drawn(folder_of):
    latents: Latents = loaded(folder_of("gan")).draw(1001, seed=0)
    assert len(latents) == 1001 and len(latents.z.unique(dim=0)) == 1001


@pytest.mark.parametrize(
    "header",
    [b"{'descr':'<f4'\n  ", b"{'descr': ',', 'fortran_order': False, 'shape': (2, 4)}\n"],
    ids=["cut", "no type"],
)
def test_an_array_whose_header_is_broken_is_refused(header: bytes, tmp_path: Path):
    path = tmp_path / "z.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ConfigError, match=r"z\.npy can't be read as an array of numbers"):
        read_latents(path)


def test_latents_in_another_byte_order_or_backwards_are_the_same_numbers():
    z = np.arange(6, dtype="f4").reshape(2, 3)
    for given in (z.astype(">f4"), z[::-1][::-1], z[::-1].copy()[::-1], np.asfortranarray(z)):
        assert torch.equal(latents_of_model(given, (3,), None), torch.from_numpy(z))

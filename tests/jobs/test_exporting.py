"""An exported run: small, of no machine, and good for images and scores."""

import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import PROJECT, RICH, composed
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from callbacks.pictures import save_sheet
from callbacks.sheets import Block, Sheet, tile
from datamodules.image_datamodule import ImageDataModule
from foundation.atomic import DiskFullError
from foundation.errors import ConfigError
from foundation.locks import InUseError
from jobs import exporting, graphs, samples
from jobs.config_check import check
from jobs.evaluation import evaluate
from jobs.exporting import LEFT_OUT, export, without_paths
from jobs.graphs import GraphError
from jobs.restoring import restored_model
from jobs.trained_model import load_run
from run_folder.checkpoints import CheckpointError

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16"]


def exported(run: Path, out: Path, *overrides: str) -> Path:
    export(composed(f"run={run}", f"out={out}", *overrides, config="export"))
    return out


def again(run: Path, *overrides: str) -> None:
    cfg = composed(f"run={run}", "accelerator=cpu", *overrides, config="evaluate")
    HydraConfig.instance().cfg = None
    evaluate(cfg)


@pytest.mark.parametrize("model", [*RICH])
def test_an_exported_run_makes_the_images_of_the_run_without_its_data(
    model: str, train_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = train_in("run", *RICH[model], *MLP)
    folder = exported(run, tmp_path / "zoo" / model)
    for method in ("prepare_data", "setup"):
        monkeypatch.setattr(ImageDataModule, method, lambda *_: pytest.fail("the data was read"))
    samples = []
    for source in (run, folder):
        out = tmp_path / f"{source.name}.npz"
        again(source, "samples=40", f"out={out}", "seed=3")
        samples.append(np.load(out)["arr_0"].astype(int))
    assert np.abs(samples[0] - samples[1]).max() <= 3 and samples[0].std() > 1  # of 255: weights are rounded


def test_an_exported_run_scores_as_the_run_did(train_in, tmp_path: Path):
    run = train_in("run", *MLP)
    folder = exported(run, tmp_path / "exported")
    again(folder)
    before = json.loads((run / "metrics.json").read_text())
    after = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert after["protocols"] == before["protocols"] and after["checkpoint"] == "weights.safetensors"
    for name, score in before["scores"].items():
        assert after["scores"][name]["value"] == pytest.approx(score["value"], rel=0.02, abs=0.02), name
        assert after["scores"][name]["weights"] == score["weights"] == "averaged (EMA)"


def test_an_export_names_no_path_of_the_machine_and_is_small(train_in, tmp_path: Path):
    run = train_in("run", "model=gan", *MLP)
    folder = exported(run, tmp_path / "exported")
    files = {path.name: path for path in folder.iterdir()}
    assert files.keys() == {
        "README.md", "config.yaml", "data.json", "metrics.json", "samples.png", "weights.safetensors",
    }  # fmt: skip
    for path in files.values():
        assert str(tmp_path).encode() not in path.read_bytes(), path
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert files["weights.safetensors"].stat().st_size < checkpoint.stat().st_size / 4
    record = json.loads(files["metrics.json"].read_text())
    value = record["scores"]["test/fid_reference"]["value"]
    assert f"| fid_reference | {value:.4g} ± " in files["README.md"].read_text()


def test_places_of_data_and_of_weights_become_the_default_ones():
    config = {"data": {"root": "/here"}, "scores": {"extractor": {"weights": "/here/a.pth", "url": "there"}}}
    expected = {"data": {"root": "data"}, "scores": {"extractor": {"weights": None, "url": "there"}}}
    assert without_paths(config, [], LEFT_OUT) == expected


def test_of_other_paths_the_last_name_is_left():
    start, left_of_start = "model.initial_weights={}my.ckpt seed=0", "model.initial_weights=my.ckpt seed=0"
    for text, left in (
        (start.format(f"{Path.home()}/"), left_of_start),
        ("python train.py 'a=[/x/y.pt,~/z.pt]' b=~me/c", "python train.py 'a=[y.pt,z.pt]' b=c"),
        (r"C:\Users\me\run", "run"),
        ("/there/run/pictures", "./pictures"),
        ("/there/run", "."),
        ("/there/running", "running"),
        ("https://host/a/b.pth", "https://host/a/b.pth"),
        ("val/fid_reference, 3 / 4", "val/fid_reference, 3 / 4"),
        ("reference/digits", "reference/digits"),
    ):
        assert without_paths({"a": [text]}, ["/there/run"], {}) == {"a": [left]}


def test_an_export_with_all_files_names_no_path_of_the_machine(train_in, tmp_path: Path):
    run = train_in("run", "model=vae", "network=mlp", "network.encoder.width=8", "network.decoder.width=8")
    record = json.loads((run / "metrics.json").read_text())
    record["command"] = f"python train.py model.initial_weights={tmp_path}/start.ckpt"
    record["notes"] = {"reference": [f"weights of {Path.home()}/cache/x.pth"]}
    record.pop("checksum")
    (run / "metrics.json").write_text(json.dumps(record))
    folder = exported(run, tmp_path / "exported", "onnx=true", "pt2=true")
    names = {path.name for path in folder.iterdir()}
    assert {"decoder.onnx", "encoder.onnx", "decoder.pt2", "encoder.pt2"} < names
    unwanted = [str(path).encode() for path in (tmp_path, PROJECT, Path.home(), Path(torch.__file__).parents[1])]
    for path in folder.iterdir():
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
        assert not [bad for bad in unwanted for content in contents if bad in content], path
    card = (folder / "README.md").read_text()
    assert "train.py model.initial_weights=start.ckpt" in card and "* weights of x.pth\n" in card
    assert "`decoder.onnx`" in card


def test_graphs_of_an_export_make_the_images_of_its_weights(tmp_path: Path):
    zoo = PROJECT / "zoo" / "gan_digits"
    folder = exported(zoo, tmp_path / "exported", "onnx=true")
    model = load_run(folder, device="cpu")
    z = model.draw(20, seed=3).z
    session = onnxruntime.InferenceSession(folder / "decoder.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.run(["images"], {"z": z.numpy()})
    assert np.abs(images - model(z).numpy()).max() < 1e-5 < images.std()
    for name in ("samples.png", "metrics.json", "config.yaml", "data.json"):  # an export of an export is one
        assert (folder / name).read_bytes() == (zoo / name).read_bytes()


def test_an_export_whose_graphs_fail_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "TOLERANCE", 0.0)
    with pytest.raises(GraphError, match=r"decoder\.onnx: .*they differ by"):
        exported(PROJECT / "zoo" / "gan_digits", tmp_path / "exported", "onnx=true")
    assert not (tmp_path / "exported").exists()


def test_what_can_not_be_exported_is_refused_and_nothing_is_written(train_in, tmp_path: Path):
    run = train_in("run", *MLP)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        exported(run, tmp_path / "there")
    (run / "metrics.json").unlink()
    with pytest.raises(ConfigError, match="only a finished run"):
        exported(run, tmp_path / "new")
    classifier = train_in("classifier", "model=classifier", *MLP)
    with pytest.raises(ConfigError, match="has no scores of images"):
        exported(classifier, tmp_path / "new")
    with pytest.raises(ConfigError, match="no run folder"):
        exported(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists() and not list((tmp_path / "there").iterdir())


def test_exported_weights_are_no_checkpoint_to_resume_from(train_in, tmp_path: Path):
    folder = exported(train_in("run", *MLP), tmp_path / "exported")
    with pytest.raises(CheckpointError, match="not resumed"):
        train_in("resumed", *MLP, "trainer.max_epochs=3", f"ckpt_path={folder / 'weights.safetensors'}")


def test_a_truncated_export_is_named(train_in, tmp_path: Path):
    folder = exported(train_in("run", *MLP), tmp_path / "exported")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged: .*; fetch or export it anew"):
        restored_model(OmegaConf.load(folder / "config.yaml"), folder)


def test_averages_are_what_an_exported_model_makes_images_with(train_in, tmp_path: Path):
    folder = exported(train_in("run", "model=gan", *MLP), tmp_path / "exported")
    trained = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    model, _ = restored_model(OmegaConf.load(folder / "config.yaml"), folder)
    assert model.images_seen == trained["images_seen"]
    for name, weight in model.generator.named_parameters():
        average = trained["state_dict"][f"averages.generator.module.{name}"]
        torch.testing.assert_close(weight.detach(), average, rtol=2**-10, atol=1e-7)
        assert not torch.allclose(weight.detach(), trained["state_dict"][f"generator.{name}"], rtol=2**-10, atol=1e-7)


def test_an_export_does_not_depend_on_the_run_folders_name_and_place(
    train_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = train_in("run", "model=gan", *MLP)
    run.rename(tmp_path / "gan")  # a word that the config has, too
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.load(exported(Path("gan"), Path("exported")) / "config.yaml")
    assert config.model._target_ == "lightning_modules.gan.GAN" and config.run_dir == "."
    assert config.callbacks.best_checkpoint.dirpath == "./checkpoints"
    assert str(tmp_path) not in (tmp_path / "exported" / "config.yaml").read_text()


def test_two_exports_do_not_share_a_folder(train_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, out = train_in("run", *MLP), tmp_path / "exported"
    write = exporting.write_run
    written: list[tuple] = []

    def write_twice(*given) -> None:
        assert not written, "the second writes as well"
        written.append(given)
        with pytest.raises(InUseError, match=f"{out} is in use by another program"):
            exported(run, out)
        write(*given)

    monkeypatch.setattr(exporting, "write_run", write_twice)
    exported(run, out)
    assert (out / "README.md").is_file() and not (out / ".lock").exists()


def test_export_that_fails_is_not_in_the_way_of_the_same_command(
    train_in, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, out = train_in("run", *MLP), tmp_path / "exported"
    with monkeypatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr(exporting, "write_record", full)
        exported(run, out)
    assert not out.exists()
    out.mkdir()
    for left in (".lock", "config.yaml"):  # by one that was killed
        (out / left).touch()
    exported(run, out)
    assert (out / "README.md").is_file()
    (out / ".lock").touch()
    with pytest.raises(ConfigError, match="exists already"):
        exported(run, out)


def test_a_run_that_was_killed_is_not_taken_for_an_export_that_was(train_in, tmp_path: Path):
    run, other = train_in("run", *MLP), tmp_path / "other"
    shutil.copytree(run, other)
    for folder in (run, other):  # a process that is killed leaves its lock
        (folder / ".lock").touch()
    (other / "metrics.json").unlink()
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    for out in (other, run):
        with pytest.raises(ConfigError, match=f"out: {out} exists already and is left as it is"):
            exported(run, out)
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def full(*_: object) -> None:
    raise DiskFullError("no room is left")


def test_samples_that_fail_are_not_in_the_way_of_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out, images = tmp_path / "samples", torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    save, saved = samples.save_png, []

    def save_two(path: Path, image: torch.Tensor) -> None:
        saved.append(path)
        full() if len(saved) == 3 else save(path, image)

    monkeypatch.setattr(samples, "save_png", save_two)
    with pytest.raises(DiskFullError):
        samples.write_folder(images, out)
    assert len(saved) == 3 and samples.check_out(str(out)) == out
    samples.write_folder(images, out)
    assert len(list(out.iterdir())) == 3


def test_samples_of_an_export_are_the_images_alone_and_damaged_ones_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    images = torch.rand(4, 1, 48, 48)
    save_sheet(tmp_path / "a.png", Sheet("A title", [Block(images, 2)]))
    exporting.export_samples(tmp_path / "a.png", tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as bare:
        assert torch.equal(pil_to_tensor(bare.convert("RGB")), tile(images, 2))
        assert not bare.info.get("Title")
    (tmp_path / "a.png").write_bytes(b"none")
    exporting.export_samples(tmp_path / "a.png", tmp_path / "none.png")
    exporting.export_samples(None, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists() and "a.png can't be read" in capsys.readouterr().out


# docs/export.md

PAGE = (PROJECT / "docs" / "export.md").read_text()


def test_commands_of_the_page_compose():
    commands = re.findall(r"^python (export|evaluate)\.py ([^#\n]*)", PAGE, flags=re.MULTILINE)
    assert len(commands) == 7
    for program, overrides in commands:
        check(composed(*shlex.split(overrides), config=program))


def test_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for suffix in ("onnx", "pt2"):
        exported(PROJECT / "zoo" / "vae_digits", tmp_path / f"mine_{suffix}", f"{suffix}=true")
    (tmp_path / "zoo").symlink_to(PROJECT / "zoo")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    shapes = []
    for block in blocks:
        names: dict[str, object] = {}
        exec(block, names)
        shapes.append(getattr(names.get("images"), "shape", None))
    assert shapes == [(16, 1, 8, 8), (16, 1, 8, 8), None, (16, 1, 8, 8)]
    assert (tmp_path / "latents.f32").stat().st_size == 1000 * 16 * 4


def test_links_of_the_page_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert target.startswith("https://") or (PROJECT / "docs" / target).exists(), target

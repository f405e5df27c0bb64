"""A run folder is data: what its config names is built only if conf/ names it there, whoever wrote the folder."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT, composed
from hostile_targets import CANARY, EVIL_MODULE, HOSTILE, PLACES, filled, put
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from foundation.errors import ConfigError, UserError
from jobs.evaluation import check_inside, evaluate
from jobs.exporting import export
from jobs.kept_config import check_kept, check_scores, check_source, read_config
from jobs.resuming import ResumptionFrom
from jobs.sweeps import resumed
from run_folder.checkpoints import CheckpointError
from run_folder.choices import Choices, check_named, choices_in, containers
from run_folder.settings import as_dict
from scoring.reference import REFERENCE_FOLDER, load_reference


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    """A config as a run keeps it."""
    small = ["network=mlp", "network.encoder.width=8", "network.decoder.width=8"]
    return as_dict(composed(*small, run_dir=Path("here")))


@pytest.fixture(scope="module")
def evaluation() -> DictConfig:
    cfg = composed("run=there", "accelerator=cpu", config="evaluate")
    resolved = OmegaConf.create({**as_dict(cfg), "folder": "none"})
    if "scores" in cfg:
        pytest.fail("the run's own scores are meant")
    HydraConfig.instance().cfg = None
    return resolved


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder of a stranger, with a module that leaves a canary wherever it is imported."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "evil_module.py").write_text(EVIL_MODULE.format(canary=str(tmp_path / CANARY)))
    monkeypatch.syspath_prepend(str(run))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    yield run
    sys.modules.pop("evil_module", None)


def keep(config: dict[str, Any], folder: Path) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def contents(folder: Path) -> set[Path]:
    return {path for path in folder.parent.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize(("target", "arguments"), HOSTILE, ids=[target for target, _ in HOSTILE])
def test_no_hostile_target_is_imported_or_called(
    target: str, arguments: dict, sound: dict, evaluation: DictConfig, folder: Path
):
    node = {"_target_": target, **filled(arguments, folder)}
    keep(put(sound, PLACES[0], node), folder)
    before = contents(folder)
    refused = r"config\.yaml: \S+ is .*, expected "
    with pytest.raises(ConfigError, match=refused):
        evaluate(OmegaConf.merge(evaluation, {"run": str(folder)}))
    for place in PLACES:
        with pytest.raises(ConfigError, match=refused):
            check_kept(put(sound, place, node), folder / "config.yaml")
    assert contents(folder) == before and "evil_module" not in sys.modules


@pytest.mark.parametrize("target", ["builtins.open", "evil_module.Deed", "torch.save", "shutil.copyfile"])
def test_without_the_check_they_would_do_their_deed(target: str, sound: dict, folder: Path):
    keep(sound, folder)
    arguments = filled(dict(HOSTILE)[target], folder)
    instantiate({"_target_": target, **arguments})
    assert (folder.parent / CANARY).exists()


def test_a_sound_config_passes_but_for_its_loggers_which_nothing_builds(sound: dict, folder: Path):
    keep(sound | {"logger": {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}}, folder)  # of version 0.1
    assert as_dict(read_config(folder)) == {name: section for name, section in sound.items() if name != "logger"}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("model.likelihood._target_", "lightning_modules.losses.HingeLoss", "expected .*s.BernoulliLikelihood"),
        ("model.likelihood._target_", ["os.system"], r"_target_ is \['os.system'\], expected .*Likelihood"),
        ("model.likelihood._target_", {"_target_": "os.system"}, "_target_ is .*, expected .*Likelihood"),
        ("model.encoder._target_", "lightning_modules.networks.mlp.Decoder", "expected .*conv.Encoder or "),
        ("model.optimizer._target_", "torch.optim.SGD", "betas: torch.optim.SGD has no such option"),
        ("model._partial_", False, "_partial_ is False, expected True"),
        ("model._partial_", 1, "_partial_ is 1, expected True"),
        ("model._recursive_", False, "_recursive_ is False, expected no such key"),
        ("model.likelihood._convert_", "object", "_convert_ is 'object', expected no such key"),
        ("model.likelihood._args_", ["x"], r"_args_ is \['x'\], expected no such key"),
        ("model.likelihood._later_", 1, "_later_ is 1, expected no such key"),
        ("choices._args_", [1], "_target_ is None, expected nothing that is built"),
        ("model.latent_dim", "64", "model.latent_dim: expected a whole number, got '64'"),
        ("model.latent_dim", {"_target_": "os.getpid"}, "latent_dim._target_ is 'os.getpid'"),
        ("model.ema_half_life", -1, "expected at least 0, got -1"),
        ("model.more", 1, "lightning_modules.vae.VAE has no such option"),
        ("seed", "0", "seed: expected a whole number"),
        ("model.latent_dim", "${oc.env:HOME}", "model.latent_dim is '.*HOME}', expected a value"),
        ("run_dir", "${hydra:runtime.cwd}", r"run_dir is .*, expected a value: what a run keeps is resolved"),
        ("data.root", "a${seed}", "data.root is .*, expected a value"),
        ("new.list.0", "${oc.env:HOME}", r"new.list.0 is .*, expected a value"),
        ("${oc.env:HOME}", 1, "expected a value"),
        ("model", None, "model is None, expected a section with a _target_"),
        ("data", "digits", "data is 'digits', expected a section with a _target_"),
        ("scores", [1], r"scores is \[1\], expected a section"),
        ("callbacks", "none", "callbacks is 'none', expected a mapping of objects by name"),
        ("callbacks.curves", {"a": 1}, "callbacks.curves is .*, expected a section with a _target_"),
        ("scores.extractor", "scoring.extractors.ReferenceExtractor", "extractor: expected a class or function"),
    ],
)  # fmt: skip
def test_what_is_not_in_its_place_is_named(place: str, value: Any, words: str, sound: dict, folder: Path):
    keep(put(sound, place, value), folder)
    with pytest.raises(ConfigError, match=rf"config\.yaml: (?s:.*){words}"):
        read_config(folder)
    if not place.startswith("${"):
        with pytest.raises(UserError):
            export(composed(f"run={folder}", f"out={folder.parent / 'out'}", config="export"))


def test_targets_anywhere_in_a_config_are_found(sound: dict):
    """Of a thousand random places and targets none passes that conf/ does not name there."""
    choices, drawing = choices_in(), random.Random(0)
    places = [place for place, node in containers(sound) if isinstance(node, dict)]
    known = sorted({target for named in choices.named.values() for target in named})
    for _ in range(1000):
        place = drawing.choice(places) + drawing.choice(["", ".more", ".list.0", ".a.b.c"])
        target = drawing.choice([*known, *(target for target, _ in HOSTILE)])
        if target in choices.at(place):
            continue
        node = drawing.choice([{"_target_": target}, {"_target_": target, "_partial_": True, "_convert_": "all"}])
        with pytest.raises(ConfigError, match="_target_ is "):
            check_kept(put(sound, place, node), Path("config.yaml"))


def test_yaml_of_ones_own_conf_is_trusted_at_its_place(tmp_path: Path):
    group = tmp_path / "conf" / "model" / "likelihood"
    group.mkdir(parents=True)
    (group / "mine.yaml").write_text("_target_: my_parts.Mine\nscale: 1.0")
    choices = Choices((PROJECT / "conf", tmp_path / "conf"))
    check_named({"model": {"likelihood": {"_target_": "my_parts.Mine"}}}, Path("config.yaml"), choices)
    with pytest.raises(ConfigError):
        check_named({"model": {"likelihood": {"_target_": "my_parts.Mine"}}}, Path("config.yaml"), choices_in())
    with pytest.raises(ConfigError):
        check_named({"model": {"prior": {"_target_": "my_parts.Mine"}}}, Path("config.yaml"), choices)


def test_other_optimizers_that_the_config_check_knows_are_those_of_a_run(sound: dict):
    optimizer = {"_target_": "torch.optim.RMSprop", "_partial_": True, "lr": 0.001}
    check_kept(put(sound, "model.optimizer", optimizer), Path("config.yaml"))
    with pytest.raises(ConfigError, match=r"torch\.optim\.Rprop"):
        check_kept(put(sound, "model.optimizer", optimizer | {"_target_": "torch.optim.Rprop"}), Path("config.yaml"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("sha256_prefix", ""), ("url", "file:///etc/passwd"), ("weights", "evil.pth"), ("sha256_prefix", "00000000")],
)
def test_which_weights_are_read_is_not_for_a_run_folder_to_say(name: str, value: str):
    config = composed("scores=inception")
    path = Path("config.yaml")
    check_scores(config, path)
    check_scores(composed("scores=reference"), path)
    check_scores(composed("scores=none"), path)
    config.scores.extractor[name] = value
    with pytest.raises(ConfigError, match=rf"scores\.extractor\.{name} is '{value}', .* scores=inception scores"):
        check_scores(config, path)


def test_weights_of_the_run_folder_are_refused_before_anything_is_read(
    sound: dict, evaluation: DictConfig, folder: Path
):
    scores = as_dict(composed("scores=inception"))["scores"]
    scores["extractor"]["weights"] = str(folder / "evil.pth")
    HydraConfig.instance().cfg = None
    keep(put(sound, "scores", scores), folder)
    with pytest.raises(ConfigError, match=r"scores\.extractor\.weights is"):
        evaluate(OmegaConf.merge(evaluation, {"run": str(folder)}))


def test_initial_weights_are_not_read_again(folder: Path):
    config = as_dict(composed("model=classifier", "model.initial_weights=/elsewhere", run_dir=Path("here")))
    HydraConfig.instance().cfg = None
    keep(config, folder)
    assert read_config(folder).model.initial_weights is None


def test_nothing_is_fetched_to_where_a_run_folder_says(tmp_path: Path):
    path = Path("config.yaml")
    check_source("data/MNIST/raw", "data", path)  # conf/'s own
    check_source("", None, path)  # data that has no folder
    check_source(str(tmp_path), str(tmp_path), path)
    with pytest.raises(ConfigError, match=r"data\.root is .*Nothing is fetched"):
        check_source(str(tmp_path / "MNIST"), str(tmp_path), path)


def test_an_evaluation_is_not_written_through_a_link_to_elsewhere(tmp_path: Path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for made in (run / "evaluation", elsewhere):
        made.mkdir(parents=True)
    check_inside(run / "evaluation", run)
    check_inside(run / "evaluation" / "new", run)
    (run / "evaluation" / "pictures").mkdir()
    (run / "evaluation" / "pictures" / "samples_fixed").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="samples_fixed is a link to outside"):
        check_inside(run / "evaluation", run)
    (run / "evaluation" / "pictures" / "samples_fixed").unlink()
    (run / "evaluation" / "pictures").rmdir()
    (run / "evaluation" / "pictures").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a link to outside"):
        check_inside(run / "evaluation", run)


def test_resuming_reads_a_config_as_data(folder: Path):
    (folder / "config.yaml").write_text("a: &a [1]\nb: *a")
    resumption = ResumptionFrom(folder / "checkpoints" / "last.ckpt", 0, {})
    with pytest.raises(CheckpointError, match="has a reference"):
        resumption.check_same_run({})
    (folder / "config.yaml").write_text("lr: ${oc.env:HOME}")
    with pytest.raises(CheckpointError, match=r"lr=\$\{oc.env:HOME\}, not 1"):  # it is not looked up
        resumption.check_same_run({"lr": 1})


def test_an_option_is_no_override_of_a_sweep(tmp_path: Path):
    record = tmp_path / "multirun.yaml"
    record.write_text(yaml.safe_dump({"hydra": {"overrides": {"task": ["--config-dir=evil"], "hydra": []}}}))
    with pytest.raises(ConfigError, match="--config-dir=evil among its overrides"):
        resumed([f"sweep.resume={tmp_path}"])


def test_an_encoder_that_conf_does_not_name_is_not_built(tmp_path: Path):
    _, facts = load_reference(REFERENCE_FOLDER / "digits.safetensors")
    hostile = facts["encoder"].replace("lightning_modules.networks.resnet.Encoder", "os.system")
    assert hostile != facts["encoder"]
    save_file({}, tmp_path / "digits.safetensors", metadata=facts | {"encoder": hostile})
    with pytest.raises(ConfigError, match=r"'os\.system', expected lightning_modules\.networks"):
        load_reference(tmp_path / "digits.safetensors")

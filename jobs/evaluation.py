"""A finished run evaluated again: its scores and pictures, other scores of the same weights, and samples."""

import re
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig

from callbacks.curves import Curves
from callbacks.epoch_seed import EpochSeed
from callbacks.latent_fit import LatentFit, fit_latents
from callbacks.picture_callback import PictureCallback
from callbacks.progress_bar import LoopProgress
from callbacks.run_facts import Identified
from callbacks.score_callback import ScoreCallback, gather
from callbacks.trainer_facts import callbacks_of
from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from foundation.progress import say
from lightning_modules.generative_model import GenerativeModel
from run_folder.layout import CONFIG, EVALUATION, METRICS, PICTURES
from run_folder.provenance import provenance
from run_folder.records import (
    EvaluationRecord,
    ProvenanceRecord,
    RecordError,
    project_version,
    read_record,
    write_record,
)

from .building import build_observers, check_makes_images
from .config_check import check
from .given_images import complete, score_images
from .hub import is_on_hub, local_folder
from .identity import identity_of
from .kept_config import check_scores, check_source, read_config
from .machine import device_of
from .memory import check_images_fit
from .restoring import restored_model
from .run_data import check_same_data
from .run_start import sole_use
from .samples import check_out, read_latents, write_samples
from .stopping import ended_by_signals
from .summary import score_table
from .trained_model import trained_model

NUM_SAMPLES = 10_000  # where none is asked for: as many as published FIDs take
OF_DENSITY = "model.density."  # the settings of another density than the run's
OF_SAMPLES = ("samples", "labels", "latents", "out")  # settings of the images that are written
BY_NAME = ("extractor_accuracy", "notes")  # details that are by the name of the scores, as reference or inception


def evaluate(cfg: DictConfig) -> None:
    """What `evaluate.py` does: a run again, samples of it, or the images of another program."""
    if bool(cfg.run) == bool(cfg.images):
        raise ConfigError("run: give the run folder that train.py named, run=outputs/…, or images=<folder or .npz>")
    if cfg.images:
        for name in asked_of_model(cfg):
            raise ConfigError(f"model.{name}: images= has no model that could be changed; leave it away")
        complete(cfg)
    check(cfg)
    check_samples(cfg)
    if cfg.images:
        score_images(cfg)
    elif out := check_out(cfg.out):
        sample_run(cfg, out)
    else:
        evaluate_run(cfg)


def evaluate_run(cfg: DictConfig) -> None:
    """Test a run's model as its training did, into evaluation/ in its folder; a changed one, into a folder in that."""
    if is_on_hub(cfg.run):
        raise ConfigError(
            f"run: scores are written into the run folder, and {cfg.run} has only a cache here. Fetch it, by "
            "`hf download owner/name --local-dir mine`, and give run=mine. Samples need no more: samples=… out=…"
        )
    run_dir = Path(cfg.run)
    folder = evaluation_folder(run_dir, cfg)
    check_inside(folder, run_dir)
    run_config = read_run_config(run_dir, cfg)
    if "scores" not in cfg:
        check_scores(run_config, run_dir / CONFIG)
    model, path = restored_model(run_config, run_dir, cfg.checkpoint, asked_of_model(cfg))
    datamodule = build_data(run_config, run_dir, cfg)
    changes = [f"{name}={value}" for name, value in named_changes(cfg).items()]
    observers = [Identified(identity_of(run_config), changes), *build_testing(run_config, datamodule)]
    check_makes_images(model, observers)
    weights = {
        "checkpoint": str(path.relative_to(run_dir)),
        "images_seen": model.images_seen,
        "checkpoint_epoch": model.restored_epoch,
    }
    with sole_use(folder, "run"):
        earlier = read_earlier(folder, weights)
        trainer = Trainer(
            default_root_dir=folder,
            accelerator=cfg.accelerator,
            devices=1,
            callbacks=observers,
            logger=False,
            enable_progress_bar=False,
        )
        made_by = provenance(trainer.strategy.root_device)
        datamodule.prepare_data()
        datamodule.setup()
        say(datamodule.summary)
        check_same_data(datamodule, run_dir)
        with ended_by_signals(lambda: "nothing is lost, evaluate again"):
            trainer.test(model, datamodule=datamodule, verbose=False)
        record_evaluation(trainer, weights, made_by, earlier, folder)


def check_samples(cfg: DictConfig) -> None:
    """Raise ConfigError for samples that are asked for and could not be made, or would go nowhere."""
    asked = [name for name in OF_SAMPLES if cfg[name] is not None]
    if asked and cfg.images:
        raise ConfigError(f"{asked[0]}: images= has no model that could make samples; leave it away")
    if asked and cfg.out is None:
        raise ConfigError(f"{asked[0]}: say where the samples go: out=samples.npz, or out=<folder> for PNG files")
    if cfg.latents is not None and cfg.samples is not None:
        raise ConfigError("samples: latents= says how many there are, one of each of the latents; leave it away")


def sample_run(cfg: DictConfig, out: Path) -> None:
    """Write images that a run's model makes, and do nothing else.

    Its data is not needed, unless what latents are drawn from is still to be fitted to it, as another density is.
    """
    run_dir = local_folder(cfg.run)
    given = None if cfg.latents is None else read_latents(Path(cfg.latents))
    config = read_run_config(run_dir, cfg)
    model = trained_model(config, run_dir, device_of(cfg.accelerator), cfg.checkpoint, asked_of_model(cfg))
    count = cfg.samples or NUM_SAMPLES if given is None else len(given.z)
    check_images_fit(count, model.image_shape, "samples")
    labels = model.labels_of(cfg.labels, count)
    if given is not None:
        latents = model.latents(given.z, given.labels if cfg.labels is None else labels)
    else:
        if not model.module.latents_are_fitted:
            fit_to_data(model.module, config, run_dir, cfg)
        latents = model.draw(count, labels, cfg.seed)
    say(f"{count:,} samples go to {out}; nothing is scored")
    write_samples(model, latents, out)


def fit_to_data(model: GenerativeModel, config: DictConfig, run_dir: Path, cfg: DictConfig) -> None:
    """Have a model fit what its latents are drawn from to the images that its run was trained on."""
    datamodule = build_data(config, run_dir, cfg)
    datamodule.prepare_data()
    datamodule.setup()
    check_same_data(datamodule, run_dir)
    fit_latents(model, datamodule, config.seed)


def read_run_config(run_dir: Path, cfg: DictConfig) -> DictConfig:
    """The config a run was built from, with the data folder and the scores that are asked for. Raises ConfigError."""
    run_config = read_config(run_dir)
    if cfg.data.root is not None:
        if "root" not in run_config.data:
            raise ConfigError("data.root: the data of this run comes with scikit-learn; leave data.root away")
        run_config.data.root = cfg.data.root
    if "scores" in cfg:  # scores=none is a choice too
        run_config.scores = cfg.scores
        if cfg.scores is None:
            run_config.callbacks.likelihood = None
    return run_config


def asked_of_model(cfg: DictConfig) -> dict[str, Any]:
    """What of a run's model is to be otherwise, by the name of its argument."""
    return {str(name): value for name, value in cfg.model.items() if value is not None}


def evaluation_folder(run_dir: Path, cfg: DictConfig) -> Path:
    """Where scores go: those of a changed model into a folder of their own, for they don't speak for the run."""
    name = "_".join(f"{name}-{value}" for name, value in named_changes(cfg).items())
    return run_dir / EVALUATION / re.sub(r"[^\w.+-]+", "-", name).strip("-")


def named_changes(cfg: DictConfig) -> dict[str, Any]:
    """What of a run's model is to be otherwise, in words."""
    named = asked_of_model(cfg)
    if "density" in named:
        named["density"] = cfg.choices["model/density"]
        typed = (override.partition("=")[::2] for override in cfg.choices.overrides)
        named |= {setting.removeprefix("model."): value for setting, value in typed if setting.startswith(OF_DENSITY)}
    return named


def check_inside(folder: Path, run_dir: Path) -> None:
    """Raise ConfigError if what is written to a run's evaluation would go elsewhere, by a link in the run folder."""
    for written in (folder, folder / PICTURES, *(folder / PICTURES).glob("*")):
        if not written.resolve().is_relative_to(run_dir.resolve()):
            raise ConfigError(f"run: {written} is a link to outside of {run_dir}, and would be written to; remove it")


def build_data(run_config: DictConfig, run_dir: Path, cfg: DictConfig) -> ImageDataModule:
    """The data module of a run. Raises ConfigError if its data is not where the run says it was."""
    datamodule: ImageDataModule = instantiate(run_config.data)
    if cfg.data.root is None:
        check_source(datamodule.source, run_config.data.get("root"), run_dir / CONFIG)
    return datamodule


def build_testing(run_config: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    """Those of the run's callbacks that look at a finished model, and what gathers the terms of the test."""
    looking = ScoreCallback | PictureCallback | Curves
    chosen = [callback for callback in build_observers(run_config, datamodule) if isinstance(callback, looking)]
    return [EpochSeed(run_config.seed), LatentFit(run_config.seed), LoopProgress(), *chosen]


def read_earlier(folder: Path, weights: dict[str, Any]) -> EvaluationRecord | None:
    """What was scored before of these very weights, if anything. Raises ConfigError if that can't be read."""
    path = folder / METRICS
    if not path.is_file():
        return None
    try:
        earlier = read_record(path, EvaluationRecord)
    except RecordError as error:
        raise ConfigError(f"run: in {folder} {error}; move {path} away and evaluate again") from error
    is_same = all(getattr(earlier, key) == value for key, value in weights.items())
    return earlier if is_same else None


def record_evaluation(
    trainer: Trainer,
    weights: dict[str, Any],
    made_by: ProvenanceRecord,
    earlier: EvaluationRecord | None,
    folder: Path,
) -> None:
    """Write and print what the test of these weights came to; other scores of the same weights are kept."""
    measured = gather(callbacks_of(trainer))
    results = {name: float(value) for name, value in trainer.callback_metrics.items()}
    terms = {name: value for name, value in results.items() if name not in measured.scores}
    scores = (earlier.scores if earlier else {}) | measured.scores
    protocols = (earlier.protocols if earlier else {}) | measured.protocols
    in_use = {score.protocol for score in scores.values()}
    kept = earlier.model_dump(exclude_unset=True, exclude={"libraries"}) if earlier else {}  # they are in made_by
    by_name = {name: kept.get(name, {}) | measured.details.get(name, {}) for name in BY_NAME}
    fields = kept | measured.details | by_name | weights | {
        "scores": scores,
        "protocols": {key: protocol for key, protocol in protocols.items() if key in in_use},
        "test": terms,
        "version": project_version(),
        "provenance": made_by,
    }  # fmt: skip
    write_record(folder / METRICS, EvaluationRecord(**fields))
    beside = {name: measured.details.get(name, {}) for name in BY_NAME}
    table = score_table(measured.scores, measured.protocols, **beside)
    print("\n".join([*table, *(f"  {name} {value:.4g}" for name, value in terms.items())]))
    print(f"scores and pictures are in {folder}")

"""A finished run evaluated again: its scores and pictures, other scores of the same weights, and samples."""

from inspect import signature
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig, OmegaConf

from callbacks.curves import Curves
from callbacks.epoch_seed import EpochSeed
from callbacks.latent_fit import LatentFit
from callbacks.picture_callback import PictureCallback
from callbacks.score_callback import ScoreCallback, gather
from callbacks.trainer_facts import callbacks_of
from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from run_folder.checkpoints import read_checkpoint
from run_folder.layout import CHECKPOINTS, CONFIG, EVALUATION, METRICS, tested_checkpoint
from run_folder.records import EvaluationRecord, RecordError, project_version, read_record, write_record

from .building import build_model, build_observers, check_makes_images
from .command_line import ended_by_sigterm
from .config_check import check
from .given_images import complete, score_images
from .resuming import check_weights_fit, shapes_of
from .run_data import check_same_data
from .samples import check_out, write_samples
from .summary import score_table

BY_NAME = ("extractor_accuracy", "notes")  # details that are by the name of the scores, as reference or inception
SECTIONS = {"model", "data", "callbacks", "scores", "seed"}  # of every run's config


def evaluate(cfg: DictConfig) -> None:
    """What `evaluate.py` does: a run again, or the images of another program."""
    if bool(cfg.run) == bool(cfg.images):
        raise ConfigError("run: give the run folder that train.py named, run=outputs/…, or images=<folder or .npz>")
    if cfg.images:
        complete(cfg)
    check(cfg)
    if cfg.images:
        score_images(cfg)
    else:
        evaluate_run(cfg)


def evaluate_run(cfg: DictConfig) -> None:
    """Test a run's model as its training did, into evaluation/ in its folder; and write samples if asked to."""
    run_dir = Path(cfg.run)
    density = cfg.get("model", {}).get("density")
    folder = run_dir / EVALUATION / cfg.choices["model/density"] if density else run_dir / EVALUATION
    out = check_out(cfg.out)
    run_config = read_run_config(run_dir, cfg)
    path = run_dir / CHECKPOINTS / cfg.checkpoint if cfg.checkpoint else tested_checkpoint(run_dir)
    checkpoint = read_checkpoint(path)  # it says which version wrote the run, before anything is built
    if density:
        replace_density(run_config, density, run_dir)
    datamodule = instantiate(run_config.data)
    observers = build_testing(run_config, datamodule)
    model = build_model(run_config.model, datamodule)
    if out and not isinstance(model, GenerativeModel):
        raise ConfigError(f"out: {run_dir} is the run of a model that makes no images")
    check_makes_images(model, observers)
    restore(model, with_own_density(checkpoint, model) if density else checkpoint, path)
    weights = {
        "checkpoint": str(path.relative_to(run_dir)),
        "images_seen": model.images_seen,
        "checkpoint_epoch": model.restored_epoch,
    }
    earlier = read_earlier(folder, weights)
    trainer = Trainer(
        default_root_dir=folder,
        accelerator=cfg.accelerator,
        devices=1,
        callbacks=observers,
        logger=False,
        enable_progress_bar=False,
    )
    datamodule.prepare_data()
    datamodule.setup()
    print(datamodule.summary, flush=True)
    check_same_data(datamodule, run_dir)
    with ended_by_sigterm("nothing is lost, evaluate again"):
        trainer.test(model, datamodule=datamodule, verbose=False)
    record_evaluation(trainer, weights, earlier, folder)
    if out and isinstance(model, GenerativeModel):
        model.to(trainer.strategy.root_device)
        write_samples(model, cfg.samples, cfg.seed, out)


def read_run_config(run_dir: Path, cfg: DictConfig) -> DictConfig:
    """The config a run was built from, with the data folder and the scores that are asked for. Raises ConfigError."""
    if not (run_dir / CONFIG).is_file():
        raise ConfigError(f"run: {run_dir} is no run folder: it has no {CONFIG}. Give the folder that train.py named")
    run_config = OmegaConf.load(run_dir / CONFIG)
    if not isinstance(run_config, DictConfig) or not SECTIONS.issubset(run_config):
        raise ConfigError(f"run: {run_dir / CONFIG} was not written by train.py. Give the folder that train.py named")
    if cfg.data.root is not None:
        if "root" not in run_config.data:
            raise ConfigError("data.root: the data of this run comes with scikit-learn; leave data.root away")
        run_config.data.root = cfg.data.root
    if "scores" in cfg:  # scores=none is a choice too
        run_config.scores = cfg.scores
        if cfg.scores is None:
            run_config.callbacks.likelihood = None
    return run_config


def replace_density(run_config: DictConfig, density: DictConfig, run_dir: Path) -> None:
    """Have a run's model built with another density. Raises ConfigError if its latents are of no such kind."""
    own = run_config.model.get("density")
    if own is None:
        raise ConfigError(f"model/density: the model of {run_dir} draws its latents from no density; leave it away")
    if asked_of_model(own) != asked_of_model(density):
        raise ConfigError(f"model/density: {density._target_} is not over such latents as those of {run_dir}")
    run_config.model.density = density


def asked_of_model(density: DictConfig) -> set[str]:
    """What a density's constructor asks of the model, such as latent_dim: what its config does not say."""
    return set(signature(get_class(density._target_)).parameters) - {str(key) for key in density}


def with_own_density(checkpoint: dict[str, Any], model: ImageModel) -> dict[str, Any]:
    """A checkpoint's weights with the model's own density, which is not fitted yet: it is before anything is scored."""
    trained = {name: weight for name, weight in checkpoint["state_dict"].items() if not name.startswith("density.")}
    own = {name: weight for name, weight in model.state_dict().items() if name.startswith("density.")}
    return checkpoint | {"state_dict": trained | own}


def build_testing(run_config: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    """Those of the run's callbacks that look at a finished model, and what gathers the terms of the test."""
    looking = ScoreCallback | PictureCallback | Curves
    chosen = [callback for callback in build_observers(run_config, datamodule) if isinstance(callback, looking)]
    return [EpochSeed(run_config.seed), LatentFit(run_config.seed), *chosen]


def restore(model: ImageModel, checkpoint: dict[str, Any], path: Path) -> None:
    """Load the weights of the checkpoint in a file. Raises CheckpointError, naming it, if they are of another model."""
    check_weights_fit(shapes_of(checkpoint["state_dict"]), model, path)
    model.load_state_dict(checkpoint["state_dict"])
    model.on_load_checkpoint(checkpoint)


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
    trainer: Trainer, weights: dict[str, Any], earlier: EvaluationRecord | None, folder: Path
) -> None:
    """Write and print what the test of these weights came to; other scores of the same weights are kept."""
    measured = gather(callbacks_of(trainer))
    results = {name: float(value) for name, value in trainer.callback_metrics.items()}
    terms = {name: value for name, value in results.items() if name not in measured.scores}
    scores = (earlier.scores if earlier else {}) | measured.scores
    protocols = (earlier.protocols if earlier else {}) | measured.protocols
    in_use = {score.protocol for score in scores.values()}
    kept = earlier.model_dump(exclude_unset=True) if earlier else {}
    by_name = {name: kept.get(name, {}) | measured.details.get(name, {}) for name in BY_NAME}
    fields = kept | measured.details | by_name | weights | {
        "scores": scores,
        "protocols": {key: protocol for key, protocol in protocols.items() if key in in_use},
        "test": terms,
        "version": project_version(),
    }  # fmt: skip
    write_record(folder / METRICS, EvaluationRecord(**fields))
    beside = {name: measured.details.get(name, {}) for name in BY_NAME}
    table = score_table(measured.scores, measured.protocols, **beside)
    print("\n".join([*table, *(f"  {name} {value:.4g}" for name, value in terms.items())]))
    print(f"scores and pictures are in {folder}")

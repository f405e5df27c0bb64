"""A finished run again, or images that another program made: scores, pictures, and samples for other programs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from lightning import Callback, Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from callbacks.curves import Curves
from callbacks.epoch_seed import EpochSeed
from callbacks.figures import draw_classes, save_figure
from callbacks.latent_fit import LatentFit
from callbacks.picture_callback import PictureCallback
from callbacks.pictures import save_png
from callbacks.sample_scores import nearest_train_picture
from callbacks.score_callback import ScoreCallback, gather
from datamodules.image_datamodule import ImageDataModule
from datamodules.pixels import to_uint8
from foundation.atomic import write_atomically
from foundation.errors import ConfigError
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.image_model import ImageModel
from lightning_modules.observing import observing
from run_folder.checkpoints import read_checkpoint
from run_folder.layout import CHECKPOINTS, CONFIG, EVALUATION, METRICS, PICTURES, tested_checkpoint
from run_folder.records import write_json
from scoring.features import GivenSamples
from scoring.given_images import read_images
from scoring.protocol import content_hash

from .building import INPUT_ERRORS, build_model, build_onlookers, build_scores, check_makes_images
from .command_line import as_user_error, ended_by_sigterm
from .config_check import check
from .resuming import check_weights_fit, shapes_of
from .run_start import claim, save_config
from .summary import score_table

REFERENCE_SCORES = Path(__file__).parents[1] / "conf" / "scores" / "reference.yaml"
BATCH_SIZE = 500


def evaluate(cfg: DictConfig) -> None:
    with as_user_error(*INPUT_ERRORS):
        if bool(cfg.run) == bool(cfg.images):
            raise ConfigError("run: give the run folder that train.py named, run=outputs/…, or images=<folder or .npz>")
        if cfg.images:
            complete(cfg)
        check(cfg)
    if cfg.images:
        evaluate_images(cfg)
    else:
        evaluate_run(cfg)


def complete(cfg: DictConfig) -> None:
    """Fill in, for images, what a run's own config would say."""
    with open_dict(cfg):
        if "scores" not in cfg:
            cfg.scores = OmegaConf.load(REFERENCE_SCORES).scores
        if cfg.scores is not None and "_target_" not in cfg.scores:
            raise ConfigError("scores: to change one of their settings name the choice too, such as scores=reference")
        if cfg.data.root is None:  # data that has no folder
            del cfg.data["root"]


def evaluate_run(cfg: DictConfig) -> None:
    run_dir = Path(cfg.run)
    with as_user_error(*INPUT_ERRORS):
        out = check_out(cfg.out)
        run_config = read_run_config(run_dir, cfg)
        datamodule = instantiate(run_config.data)
        onlookers = build_testing(run_config, datamodule)
        model = build_model(run_config.model, datamodule)
        if out and not isinstance(model, GenerativeModel):
            raise ConfigError(f"out: {run_dir} is the run of a model that makes no images")
        check_makes_images(model, onlookers)
        checkpoint = restore(model, run_dir, cfg.checkpoint)
        weights = {"checkpoint": checkpoint, "images_seen": model.images_seen, "checkpoint_epoch": model.restored_epoch}
        earlier = read_earlier(run_dir / EVALUATION, weights)
        trainer = Trainer(
            default_root_dir=run_dir / EVALUATION,
            accelerator=cfg.accelerator,
            devices=1,
            callbacks=onlookers,
            logger=False,
            enable_progress_bar=False,
        )
        datamodule.prepare_data()
        datamodule.setup()
    with ended_by_sigterm("nothing is lost, evaluate again"):
        trainer.test(model, datamodule=datamodule, verbose=False)
    report_run(trainer, weights, earlier, run_dir / EVALUATION)
    if out:
        model.to(trainer.strategy.root_device)
        write_samples(model, cfg.samples, cfg.seed, out)


def evaluate_images(cfg: DictConfig) -> None:
    """Score images of any origin as those of models are scored, into a folder that reads like a run's."""
    folder = Path(cfg.folder)
    with as_user_error(*INPUT_ERRORS):
        if "_target_" not in cfg.data:
            raise ConfigError("data: say which real images these are to be compared with: images=… data=mnist")
        if cfg.scores is None:
            raise ConfigError("scores: with scores=none there is nothing to do")
        claim(folder, continued_from=None)
        datamodule = instantiate(cfg.data)
        device = Trainer(accelerator=cfg.accelerator, devices=1, logger=False, barebones=True).strategy.root_device
        images = read_images(Path(cfg.images), datamodule.image_shape)
        (score,) = build_scores(cfg.scores, datamodule)
        needed = score.scorer.num_fakes or datamodule.num_test
        if len(images) < needed:
            raise ConfigError(
                f"images: {cfg.images} has {len(images)} images, the protocol asks for {needed}. Give more, or choose "
                f"another protocol, such as scores=reference scores.num_fakes={len(images)}"
            )
        datamodule.prepare_data()
        datamodule.setup()
    report = score.measure(GivenSamples(images, BATCH_SIZE), device, repeats=1)
    name = cfg.name or Path(cfg.images).stem
    record = {"model": name, "network": None, "data": cfg.choices.data, "seed": None}
    record |= {"images": str(cfg.images), "images_sha256": content_hash(images), "num_images": len(images)}
    save_config(cfg, folder)
    save_png(folder / PICTURES / "nearest_train_final.png", nearest_train_picture(report))
    if report.classes:
        save_figure(folder / PICTURES / "classes.png", draw_classes(report.classes))
    told = gather([score])
    write_json(folder / METRICS, record | told)
    print("\n".join([f"{name}: {needed:,} of {len(images):,} images", *score_table(told), f"  in {folder}"]))


def read_run_config(run_dir: Path, cfg: DictConfig) -> DictConfig:
    """The config a run was built from, with the data folder and the scores that are asked for. Raises ConfigError."""
    if not (run_dir / CONFIG).is_file():
        raise ConfigError(f"run: {run_dir} is no run folder: it has no {CONFIG}. Give the folder that train.py named")
    run_config = OmegaConf.load(run_dir / CONFIG)
    if not {"model", "data", "callbacks", "scores", "seed"} <= run_config.keys():
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


def build_testing(run_config: DictConfig, datamodule: ImageDataModule) -> list[Callback]:
    """Those of the run's callbacks that look at a finished model, and what gathers the terms of the test."""
    looking = ScoreCallback | PictureCallback | Curves
    chosen = [callback for callback in build_onlookers(run_config, datamodule) if isinstance(callback, looking)]
    return [EpochSeed(run_config.seed), LatentFit(run_config.seed), *chosen]


def read_earlier(folder: Path, weights: dict[str, Any]) -> dict[str, Any]:
    """What was scored before of these very weights. Raises ConfigError if that can't be read."""
    if not (folder / METRICS).is_file():
        return {}
    try:
        earlier = json.loads((folder / METRICS).read_text())
        same = all(earlier.get(key) == value for key, value in weights.items())
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"{folder / METRICS} can't be read ({error}); move it away and evaluate again") from error
    return earlier if same else {}


def report_run(trainer: Trainer, weights: dict[str, Any], earlier: dict[str, Any], folder: Path) -> None:
    told = gather(trainer.callbacks)
    results = {name: float(value) for name, value in trainer.callback_metrics.items()}
    terms = {name: value for name, value in results.items() if name not in told["scores"]}
    scores = earlier.get("scores", {}) | told["scores"]  # other scores of these weights
    used = {score["protocol"] for score in scores.values()}
    protocols = earlier.get("protocols", {}) | told["protocols"]
    record = earlier | told | weights | {
        "scores": scores, "protocols": {key: protocols[key] for key in protocols if key in used}, "test": terms,
    }  # fmt: skip
    write_json(folder / METRICS, record)
    print("\n".join([*score_table(told), *(f"  {name} {value:.4g}" for name, value in terms.items())]))
    print(f"scores and pictures are in {folder}")


def restore(model: ImageModel, run_dir: Path, name: str | None) -> str:
    """Load a run's weights into the model, and say from which file. Raises CheckpointError."""
    path = run_dir / CHECKPOINTS / name if name else tested_checkpoint(run_dir)
    checkpoint = read_checkpoint(path)
    check_weights_fit(shapes_of(checkpoint["state_dict"]), model, path)
    model.load_state_dict(checkpoint["state_dict"])
    model.on_load_checkpoint(checkpoint)
    return str(path.relative_to(run_dir))


def check_out(out: str | None) -> Path | None:
    """Where samples go: an .npz file or a folder that is not there yet. Raises ConfigError."""
    if out is None:
        return None
    path = Path(out)
    if path.suffix != ".npz" and path.suffix[1:].isalpha():
        raise ConfigError(f"out: expected a name that ends in .npz, or a folder, got {out}")
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ConfigError(f"out: {out} exists already and is left as it is; give another name")
    return path


def write_samples(model: GenerativeModel, count: int, seed: int, out: Path) -> None:
    """Write `count` generated images as uint8: one .npz, (N, H, W, C) under arr_0, or a PNG file each."""
    model.eval()
    with observing(model, seed):
        sizes = [min(BATCH_SIZE, count - done) for done in range(0, count, BATCH_SIZE)]
        images = torch.cat([to_uint8(model.decode(model.sample_latents(size))).cpu() for size in sizes])
    if out.suffix == ".npz":
        array = images.permute(0, 2, 3, 1).contiguous().numpy()
        write_atomically(out, lambda partial: np.savez(partial, array))
    else:
        for index, image in enumerate(images):
            save_png(out / f"{index:06d}.png", image)
    print(f"{count:,} images written to {out}")

"""Images that another program made, scored as those of models are, into a folder that reads like a run's."""

from dataclasses import replace
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from callbacks.figures import draw_classes, save_figure
from callbacks.pictures import save_sheet
from callbacks.run_facts import in_words
from callbacks.sample_scores import SampleScores, nearest_train_sheet
from callbacks.score_callback import gather
from callbacks.sheets import BETWEEN
from datamodules.image_datamodule import ImageDataModule
from foundation.errors import ConfigError
from run_folder.layout import METRICS
from run_folder.pictures import CHARTS, FINAL, NEAREST_TRAIN, picture_file
from run_folder.provenance import provenance
from run_folder.records import GivenImagesRecord, ProvenanceRecord, project_version, write_record
from scoring.features import GivenSamples
from scoring.given_images import read_images
from scoring.protocol import content_hash

from .building import build_scores
from .machine import device_of
from .run_start import claim, save_config, sole_use
from .summary import score_table

REFERENCE_SCORES = Path(__file__).parents[1] / "conf" / "scores" / "reference.yaml"
BATCH_SIZE = 500


def complete(cfg: DictConfig) -> None:
    """Fill in what a run's own config would say. Raises ConfigError."""
    with open_dict(cfg):
        if "scores" not in cfg:
            cfg.scores = OmegaConf.load(REFERENCE_SCORES).scores
        if cfg.scores is not None and "_target_" not in cfg.scores:
            raise ConfigError("scores: to change one of their settings name the choice too, such as scores=reference")
        if cfg.data.root is None:  # data that has no folder
            del cfg.data["root"]


def score_images(cfg: DictConfig) -> None:
    """Score the images at `cfg.images` against the test split of `cfg.data`, into `cfg.folder`."""
    folder = Path(cfg.folder)
    check_choices(cfg)
    datamodule = instantiate(cfg.data)
    device = device_of(cfg.accelerator)
    images = read_images(Path(cfg.images), datamodule.image_shape, cfg.background)
    (score,) = build_scores(cfg.scores, datamodule)
    check_count(images, number_needed(score, datamodule), cfg.images)
    with sole_use(folder, "folder"):
        claim(folder, resumed_from=None, option="folder")
        measure_into(folder, cfg, images, score, datamodule, device)


def measure_into(
    folder: Path,
    cfg: DictConfig,
    images: Tensor,
    score: SampleScores,
    datamodule: ImageDataModule,
    device: torch.device,
) -> None:
    """Score images (N, C, H, W), and write their record, config and pictures into a folder."""
    made_by, needed = provenance(device), number_needed(score, datamodule)
    datamodule.prepare_data()
    datamodule.setup()
    print(datamodule.summary)
    report = score.measure(GivenSamples(images, BATCH_SIZE), device, repeats=1)
    record = record_of(cfg, images, score, made_by)
    facts = [f"{record.model}{BETWEEN}{record.data}", *(in_words(*first) for first in list(record.scores.items())[:1])]
    sheet = replace(nearest_train_sheet(report, score.name), facts=facts)
    save_sheet(picture_file(folder, NEAREST_TRAIN, FINAL), sheet)
    if report.classes:
        save_figure(picture_file(folder, CHARTS, "classes"), draw_classes(report.classes, facts))
    write_record(folder / METRICS, record)
    save_config(cfg, folder, "folder")  # last: a folder with a config is done with, and is left as it is
    print(f"{record.model}: {needed:,} of {len(images):,} images")
    table = score_table(record.scores, record.protocols, record.extractor_accuracy, record.notes)
    print("\n".join([*table, f"  in {folder}"]))


def check_choices(cfg: DictConfig) -> None:
    """Raise ConfigError unless the config says what the images are compared with, and how."""
    if "_target_" not in cfg.data:
        raise ConfigError("data: say which real images these are to be compared with: images=… data=mnist")
    if cfg.scores is None:
        raise ConfigError("scores: with scores=none there is nothing to do")


def number_needed(score: SampleScores, datamodule: ImageDataModule) -> int:
    """How many images the protocol takes."""
    return score.scorer.num_fakes or datamodule.num_test


def check_count(images: Tensor, needed: int, source: str) -> None:
    """Raise ConfigError if there are fewer images than needed."""
    if len(images) < needed:
        raise ConfigError(
            f"images: {source} has {len(images)} images, the protocol asks for {needed}. Give more, or choose "
            f"another protocol, such as scores=reference scores.num_fakes={len(images)}"
        )


def record_of(cfg: DictConfig, images: Tensor, score: SampleScores, made_by: ProvenanceRecord) -> GivenImagesRecord:
    """The record of images (N, C, H, W) that have been scored."""
    measured = gather([score])
    return GivenImagesRecord(
        model=cfg.name or Path(cfg.images).stem,
        network=None,
        data=cfg.choices.data,
        seed=None,
        images=str(cfg.images),
        images_sha256=content_hash(images),
        num_images=len(images),
        scores=measured.scores,
        protocols=measured.protocols,
        version=project_version(),
        provenance=made_by,
        **measured.details,
    )

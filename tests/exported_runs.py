"""Run folders of models that learned nothing, as they are exported."""

from pathlib import Path

from conftest import composed
from hydra.core.hydra_config import HydraConfig

from jobs.building import build_datamodule, build_model
from jobs.run_data import save_data
from jobs.run_start import save_config
from lightning_modules.generative_model import GenerativeModel
from lightning_modules.observing import observing
from lightning_modules.values import Batch
from run_folder.checkpoints import FORMAT
from run_folder.layout import WEIGHTS
from run_folder.weights import write_weights

MLP = ["network=mlp", "network.encoder.width=16", "network.decoder.width=16", "data=digits"]


def write_run(folder: Path, *overrides: str, is_fitted: bool = True) -> Path:
    """A run on digits of small networks, unless overridden; `is_fitted`: whether its latents' density is."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = composed(*MLP, *overrides, run_dir=folder)
    datamodule = build_datamodule(cfg.data)
    datamodule.setup()
    model = build_model(cfg.model, datamodule)
    if is_fitted and isinstance(model, GenerativeModel):
        images, labels = (tensor[:300] for tensor in datamodule.training_images(400))
        with observing(model, seed=0):
            model.fit_latents([Batch(images, labels)], [Batch(images[:50], labels[:50])])
    facts = {"images_seen": 0, "averaged_until": 0, "epoch": 0, "format": FORMAT, "version": "0.2.0"}
    write_weights(model.state_dict(), facts, folder / WEIGHTS)
    save_config(cfg, folder)
    save_data(datamodule, folder)
    HydraConfig.instance().cfg = None  # a run is loaded without Hydra
    return folder

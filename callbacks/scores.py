"""How good the images are: the Fréchet distance to real ones (FID, Heusel et al. 2017, arXiv:1706.08500)."""

import warnings
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

import torch
from lightning import Callback, LightningDataModule, Trainer
from torchmetrics.image.fid import FrechetInceptionDistance

from lightning_modules.generative_model import GenerativeModel

from .curves import publish_result
from .extractors import FeatureExtractor
from .observing import is_due, observing
from .pictures import to_uint8


class FIDScore(Callback):
    """`val/fid_<name>` every few epochs, for choosing a checkpoint; `test/fid_<name>` at the end, for reporting.

    Fakes are as many as the split has real images, unless `num_fakes` says otherwise. The test score is the
    mean over `repeats` draws of fakes. Real statistics are computed once for each split. `results` holds
    {score name: {value, std, protocol}} of what was reported on test. Raises ValueError if there are fewer
    test images than the extractor has features.
    """

    def __init__(
        self,
        name: str,
        extractor: Callable[..., FeatureExtractor],
        datamodule: LightningDataModule,
        every_n_epochs: int,
        num_fakes: int | None,
        repeats: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.name, self.every_n_epochs = name, every_n_epochs
        self.num_fakes, self.repeats, self.batch_size, self.seed = num_fakes, repeats, batch_size, seed
        self.extractor = extractor(image_shape=datamodule.image_shape)
        self.results: dict[str, dict[str, Any]] = {}
        self._metrics: dict[str, FrechetInceptionDistance] = {}
        self._check_count(datamodule.num_val, datamodule.num_test)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        if is_due(trainer, self.every_n_epochs):
            value = self.distance(pl_module, trainer.datamodule, "val", self.seed)
            publish_result(trainer, pl_module, {f"val/fid_{self.name}": value})

    def on_test_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        result = self.report(pl_module, trainer.datamodule)
        self.results = {f"test/fid_{self.name}": result}
        publish_result(trainer, pl_module, {f"test/fid_{self.name}": result["value"]})

    def report(self, model: GenerativeModel, datamodule: LightningDataModule) -> dict[str, Any]:
        """The score on the test split: its mean and standard deviation over draws of fakes, and its protocol."""
        draws = [self.distance(model, datamodule, "test", self.seed + repeat) for repeat in range(self.repeats)]
        real = len(datamodule.split("test").images)
        return {
            "value": fmean(draws),
            "std": stdev(draws) if len(draws) > 1 else None,
            "protocol": {
                **self.extractor.protocol,
                "split": "test",
                "num_real": real,
                "num_fakes": self.num_fakes or real,
                "repeats": self.repeats,
                "pixels": "uint8, rounded",
                "weights": "averaged (EMA)" if hasattr(model, "averaged_generator") else "raw",
                "seed": self.seed,
            },
        }

    def distance(self, model: GenerativeModel, datamodule: LightningDataModule, split: str, seed: int) -> float:
        """The Fréchet distance between one draw of fakes and a split's real images."""
        metric = self._metric_with_real(datamodule, split, model.device)
        real = len(datamodule.split(split).images)
        with observing(model, seed):
            for count in _batch_sizes(self.num_fakes or real, self.batch_size):
                fakes = to_uint8(model.decode(model.sample_latents(count)))
                metric.update(fakes.to(metric.device), real=False)
        value = float(metric.compute())
        metric.reset()
        return value

    def _check_count(self, num_val: int, num_test: int) -> None:
        count = min(num_test, self.num_fakes or num_test)
        if count < self.extractor.num_features:
            raise ValueError(
                f"scores: {count} test images are too few for fid_{self.name}, whose extractor has "
                f"{self.extractor.num_features} features and needs at least as many images. "
                "Use scores=reference, a larger data set, or a larger scores.num_fakes"
            )
        if num_val < self.extractor.num_features:
            warnings.warn(
                f"val has {num_val} images, fewer than the {self.extractor.num_features} features of fid_{self.name}: "
                f"val/fid_{self.name} is far off and ranks checkpoints only roughly",
                stacklevel=2,
            )

    def _metric_with_real(
        self, datamodule: LightningDataModule, split: str, device: torch.device
    ) -> FrechetInceptionDistance:
        if device.type == "mps":
            device = torch.device("cpu")  # the sums are in float64, which is not to be had there
        if split not in self._metrics:
            metric = FrechetInceptionDistance(self.extractor, reset_real_features=False).to(device)
            with torch.no_grad():
                for images in datamodule.split(split).images.split(self.batch_size):
                    metric.update(images.to(device), real=True)
            self._metrics[split] = metric
        return self._metrics[split].to(device)


def _batch_sizes(total: int, batch_size: int) -> list[int]:
    full, rest = divmod(total, batch_size)
    return [batch_size] * full + [rest] * (rest > 0)

"""Whether a model has collapsed, as far as one can see it while it is trained: by its samples and its latents."""

from typing import Annotated

import torch
from annotated_types import Ge
from lightning import Trainer

from datamodules.image_datamodule import LabelledImages
from foundation.ranges import Images, Seed, Size
from lightning_modules.generative_model import GenerativeModel, HasLikelihood
from lightning_modules.observing import observing
from run_folder.judgements import STEEP, Judgement, identical_samples, missing_modes, no_active_latent
from scoring.arithmetic import full_precision
from scoring.features import ModelSamples
from scoring.protocol import chosen_indices
from scoring.scorer import Glance, pixel_deviation

from .likelihood_scores import posterior_facts
from .sample_scores import SampleScores
from .trainer_facts import callbacks_of, datamodule_of


class CollapseCheck:
    """Judges a model by the limits of run_folder/judgements.py.

    By the samples that val has been scored by; where it is not scored by any, by `num_images` others. Latents by
    `num_images` val images. `seed` draws and chooses them.
    """

    def __init__(self, num_images: Annotated[Images, Ge(2)], batch_size: Size, seed: Seed) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.best: float | None = None  # of val's scores so far

    def is_learning(self, trainer: Trainer) -> bool:
        """Whether val's score has just fallen well below its best before, or is the first; for every score once.

        So a model that is slow to find the classes is not taken for one that has lost them.
        """
        glance = latest_glance(trainer)
        if glance is None:
            return False
        is_steep = self.best is None or self.best - glance.distance > STEEP * abs(self.best)
        self.best = glance.distance if self.best is None else min(self.best, glance.distance)
        return is_steep

    def __call__(self, trainer: Trainer, model: GenerativeModel) -> list[Judgement]:
        """What is wrong, if anything."""
        diversity, missing = self.seen_in_samples(trainer, model)
        found = [
            identical_samples(diversity),
            missing_modes(missing),
            no_active_latent(self.kl_by_dimension(trainer, model)),
        ]
        return [judgement for judgement in found if judgement is not None]

    def seen_in_samples(self, trainer: Trainer, model: GenerativeModel) -> tuple[float | None, float | None]:
        """Their diversity, and the share of missing modes; None where it can't be known."""
        glance = latest_glance(trainer)
        if glance is not None:
            return glance.sample_diversity, glance.missing_modes
        real = pixel_deviation(datamodule_of(trainer).split("val").images)
        drawn = ModelSamples(model, self.batch_size).at(torch.arange(self.num_images), self.num_images, self.seed)
        return (pixel_deviation(drawn) / real if real > 0 else None), None

    def kl_by_dimension(self, trainer: Trainer, model: GenerativeModel) -> list[float] | None:
        """Of val images, nats; of a KL that does not part by dimension the total; None of models without a KL."""
        if not isinstance(model, HasLikelihood):
            return None
        val = datamodule_of(trainer).split("val")
        chosen = chosen_indices(len(val.images), min(self.num_images, len(val.images)), self.seed)
        data = LabelledImages(val.images[chosen], val.labels[chosen])
        with observing(model, self.seed), full_precision():
            _, parts = posterior_facts(model, data, self.batch_size, model.device)
        if parts is not None:
            return parts.tolist()
        total = trainer.callback_metrics.get("val/kl")  # no latent can carry more than all
        return None if total is None else [float(total)]


def latest_glance(trainer: Trainer) -> Glance | None:
    """What val was scored by; None where it is not scored by samples."""
    glances = [callback.glance for callback in callbacks_of(trainer) if isinstance(callback, SampleScores)]
    return next((glance for glance in glances if glance is not None), None)

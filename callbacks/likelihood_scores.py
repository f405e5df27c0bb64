"""How probable a model finds unseen images, and what it uses its latents for: for models with a likelihood."""

from math import log, prod

import torch
from lightning import Trainer
from torch import Tensor

from datamodules.image_datamodule import ImageDataModule, LabelledImages
from foundation.ranges import Count, Images, Seed, Size
from lightning_modules.generative_model import GenerativeModel, HasLikelihood
from lightning_modules.observing import observing
from run_folder.judgements import INACTIVE_BELOW
from run_folder.records import Score
from scoring.arithmetic import full_precision
from scoring.protocol import Protocol, chosen_indices, content_hash, short_hash

from .batches import batches_of
from .figures import draw_kl, show_figure
from .run_facts import run_facts
from .scalars import log_results
from .score_callback import ScoreCallback
from .trainer_facts import datamodule_of

OF_THE_PRIOR = ("nll", "bits_per_dim")  # p(x) is over the prior, whatever density samples are drawn from
ACTIVE_ABOVE = 0.01  # variance over images of a posterior mean: an active unit (Burda et al. 2016)


class LikelihoodScores(ScoreCallback):
    """On test, from `num_images` test images, for models with `HasLikelihood`.

    `test/nll`, −log p(x) by importance sampling with `num_samples` draws an image, nats per image (Burda et al.
    2016, arXiv:1509.00519); `test/bits_per_dim`, the same for likelihoods over 8-bit pixels; `test/active_latents`,
    how many carry information, where the KL parts over them; `test/active_units`, of how many the posterior mean moves
    at all, as the literature counts: also those that carry next to nothing. `batch_size` counts images that are
    decoded at a time.
    """

    def __init__(
        self,
        num_images: Images | None,
        num_samples: Count,
        batch_size: Size,
        seed: Seed,
    ) -> None:
        """`num_images` of None takes the whole test split; fewer are drawn by `seed`, for they may lie in order."""
        super().__init__()
        self.num_images, self.num_samples, self.batch_size, self.seed = num_images, num_samples, batch_size, seed

    def on_test_epoch_end(self, trainer: Trainer, pl_module: GenerativeModel) -> None:
        if not isinstance(pl_module, HasLikelihood):
            return
        data = datamodule_of(trainer).split("test")
        chosen = chosen_indices(len(data.images), self.num_images, self.seed)
        test = LabelledImages(data.images[chosen], data.labels[chosen])
        protocol = self._protocol(datamodule_of(trainer), test.images, pl_module.likelihood_kind)
        with observing(pl_module, self.seed), full_precision():
            nll = -log_likelihood(pl_module, test, self.num_samples, self.batch_size, pl_module.device).mean().item()
            means, kl = posterior_facts(pl_module, test, self.batch_size, pl_module.device)
        scores: dict[str, float] = {"nll": nll}
        if kl is not None:
            scores["active_latents"] = int((kl > INACTIVE_BELOW).sum())
        scores["active_units"] = int((means.var(dim=0) > ACTIVE_ABOVE).sum())
        if pl_module.is_over_bytes:
            scores["bits_per_dim"] = nll / (log(2) * prod(pl_module.image_shape))
        key = short_hash(protocol)
        self.protocols = {key: protocol}
        self.results = {
            f"test/{name}": Score(
                value=value,
                std=None,
                floor=None,
                protocol=key,
                weights=pl_module.weights_used,
                latents="prior" if name in OF_THE_PRIOR else None,
            )
            for name, value in scores.items()
        }
        log_results(trainer, pl_module, {name: float(score.value) for name, score in self.results.items()})
        if kl is not None:
            self.details = {"kl_by_dimension": [round(value, 4) for value in kl.tolist()]}
            show_figure(trainer, pl_module, "kl_by_dimension", draw_kl(kl, run_facts(trainer, pl_module)))

    def _protocol(self, datamodule: ImageDataModule, images: Tensor, kind: str) -> Protocol:
        return {
            "data": datamodule.title,
            "split": "test",
            "images_sha256": content_hash(images),
            "num_images": len(images),
            "likelihood": kind,
            "importance_samples": self.num_samples,
            "seed": self.seed,
            "active_latents": f"mean KL above {INACTIVE_BELOW} nats",
            "active_units": f"variance of the posterior mean above {ACTIVE_ABOVE}",
        }


def log_likelihood(
    model: HasLikelihood, data: LabelledImages, num_samples: int, batch_size: int, device: torch.device
) -> Tensor:
    """log p(x) of images, uint8 (N, C, H, W), by importance sampling: (N,), nats; on average a lower bound.

    At most `batch_size` images are decoded at a time, for any number of samples.
    """
    at_once = min(num_samples, batch_size)
    batches = batches_of(data, max(1, batch_size // at_once), device)
    found = [model.log_importance_weights(batch, num_samples, batch_size).logsumexp(dim=0) for batch in batches]
    return torch.cat(found).cpu() - log(num_samples)


def posterior_facts(
    model: HasLikelihood, data: LabelledImages, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Posterior means (N, D), and each dimension's mean KL, (D,), nats, where that is defined."""
    means, kl = [], []
    for batch in batches_of(data, batch_size, device):
        means.append(model.encode(batch).z.flatten(1))
        kl.append(model.kl_by_dimension(batch))
    known = [part for part in kl if part is not None]
    return torch.cat(means).cpu(), torch.cat(known).mean(dim=0).cpu() if known else None

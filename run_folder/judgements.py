"""When a model's samples or latents are no good: judged once, for training (callbacks/health.py) and for reports.

These limits are no settings: a report compares runs, also those of other programs and of earlier versions, by the
same ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

IDENTICAL_BELOW = 0.05  # of real images' spread
INACTIVE_BELOW = 0.1  # nats: what a latent that is used carries at least
MOST = 0.5  # of the classes
LOW_RECALL = 0.1  # of real images' recall and coverage, below which a precision says little
PRAISED_ABOVE = 0.5  # of real images' precision
STEEP = 0.1  # a val score that falls by more than this share is not at its end
# Training images, before which nothing of this is held against a model. A VAE of digits (mlp) that ends with active
# latents has none for its first 17,000 images.
EARLY_UNTIL = 20_000


class Judgement(NamedTuple):
    """What is wrong with a model: a number that is beyond its threshold."""

    kind: str
    text: str
    measured: float
    threshold: float
    is_collapse: bool


def identical_samples(diversity: float | None) -> Judgement | None:
    """From the spread of samples' pixels over that of real images; 0: all samples are the same."""
    if diversity is None or diversity >= IDENTICAL_BELOW:
        return None
    text = f"their pixels' spread is {diversity:.2g} of the real images'"
    return Judgement("samples are all but identical", text, diversity, IDENTICAL_BELOW, is_collapse=True)


def no_active_latent(kl_by_dimension: Sequence[float] | None) -> Judgement | None:
    """From the mean KL of each latent dimension, nats."""
    if not kl_by_dimension or max(kl_by_dimension) >= INACTIVE_BELOW:
        return None
    most = max(kl_by_dimension)
    text = f"none carries {INACTIVE_BELOW} nat, the most {most:.2g}: reconstructions know nothing of their images"
    return Judgement("no active latent", text, most, INACTIVE_BELOW, is_collapse=True)


def missing_modes(share: float | None) -> Judgement | None:
    """From the share of classes that samples all but lack; a collapse if it is most of them."""
    if not share:
        return None
    text = f"{100 * share:.0f} % of the classes are all but absent"
    return Judgement("missing modes", text, share, MOST, is_collapse=share >= MOST)


def is_early(images_seen: float) -> bool:
    """Whether a model has seen too few images to be judged by its samples and latents."""
    return images_seen < EARLY_UNTIL

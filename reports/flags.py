"""What is suspicious about a run that finished: it collapsed, or had not converged."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .runs import Curve, Run

IDENTICAL_BELOW = 0.05  # of real images' spread
INACTIVE_BELOW = 0.1  # nat: what a latent that is used carries at least
FAR_BELOW_FLOOR = 0.1  # of the floor's recall and coverage
PRAISED_ABOVE = 0.5  # of the floor's precision
MOST = 0.5  # of the classes
LAST_PART, STEEP = 0.2, 0.1  # a curve that falls by a tenth in its last fifth


class Flag(NamedTuple):
    """One thing to be careful with."""

    kind: str
    text: str
    is_collapse: bool = False


def flags_of(run: Run) -> list[Flag]:
    """All that its record and curves show."""
    return [
        *_identical_samples(run),
        *_hardly_varied(run),
        *_unused_latents(run),
        *_missing_modes(run),
        *_still_falling(run),
        *(Flag("a score says little, or is left out", note) for note in run.notes),
    ]


def _identical_samples(run: Run) -> Iterator[Flag]:
    if run.sample_diversity is not None and run.sample_diversity < IDENTICAL_BELOW:
        spread = f"their pixels' spread is {run.sample_diversity:.2g} of the real images'"
        yield Flag("samples are all but identical", spread, is_collapse=True)


def _hardly_varied(run: Run) -> Iterator[Flag]:
    """Precise, and far from the variety of real images: few kinds of samples, or blurs to which precision is blind."""
    for extractor, of in _by_extractor(run).items():
        if not {"precision", "recall", "coverage"} <= of.keys():
            continue
        shares = {name: value / floor for name, (value, floor) in of.items() if floor}
        low = max(shares.get("recall", 1), shares.get("coverage", 1)) < FAR_BELOW_FLOOR
        if low and shares.get("precision", 0) > PRAISED_ABOVE:
            values = ", ".join(f"{name} {of[name][0]:.3f} (floor {of[name][1]:.3f})" for name in ("recall", "coverage"))
            text = f"{values} at precision {of['precision'][0]:.3f}, by {extractor}"
            yield Flag("samples hardly vary", text, is_collapse=True)


def _unused_latents(run: Run) -> Iterator[Flag]:
    if run.kl_by_dimension and max(run.kl_by_dimension) < INACTIVE_BELOW:
        most = f"the most {max(run.kl_by_dimension):.2g}"
        text = f"none carries {INACTIVE_BELOW} nat, {most}: reconstructions know nothing of their images"
        yield Flag("no active latent", text, is_collapse=True)


def _missing_modes(run: Run) -> Iterator[Flag]:
    for column, score in run.scores.items():
        if column.score.startswith("test/missing_modes_") and score.value > 0:
            text = f"{100 * score.value:.0f} % of the classes are all but absent"
            yield Flag("missing modes", text, is_collapse=score.value >= MOST)


def _still_falling(run: Run) -> Iterator[Flag]:
    """By val's FID or KID; by val's loss where neither was drawn."""
    scores = [name for name in run.curves if name.startswith(("val/fid_", "val/kid_"))]
    for name in scores or [name for name in run.curves if name == "val/loss"]:
        fall = fall_at_the_end(run.curves[name])
        if fall is not None and fall > STEEP:
            yield Flag("not converged", f"{name} fell by {100 * fall:.0f} % in the last fifth of training")


def fall_at_the_end(curve: Curve) -> float | None:
    """By which part of its value a curve falls in the last fifth of the images seen; None of less than three points."""
    if len(curve) < 3:
        return None
    seen, values = np.array(sorted((images_seen, value) for images_seen, _, value in curve), dtype=float).T
    before = float(np.interp((1 - LAST_PART) * seen[-1], seen, values))
    return (before - float(values[-1])) / abs(before) if before else 0.0


def _by_extractor(run: Run) -> dict[str, dict[str, tuple[float, float | None]]]:
    """{extractor: {score: (value, floor)}} of scores such as test/recall_reference."""
    found: dict[str, dict[str, tuple[float, float | None]]] = {}
    for column, score in run.scores.items():
        name, _, extractor = column.score.removeprefix("test/").rpartition("_")
        floor = None if score.floor is None else float(score.floor)
        found.setdefault(extractor, {})[name] = (float(score.value), floor)
    return found

"""What is suspicious about a run that finished: it collapsed, ended too early to tell, or had not converged."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from run_folder.judgements import (
    LOW_RECALL,
    PRAISED_ABOVE,
    STEEP,
    Judgement,
    identical_samples,
    is_early,
    missing_modes,
    no_active_latent,
)

from .runs import Curve, Run

LAST_PART = 0.2  # of a curve, in which it should be flat
MISSING_MODES = "test/missing_modes_"
TOO_SHORT = "too short to judge"


class Flag(NamedTuple):
    """One thing to be careful with."""

    kind: str
    text: str
    is_collapse: bool = False


def flags_of(run: Run) -> list[Flag]:
    """All that its record and curves show, each kind once."""
    judged = [*_judged(run), *_hardly_varied(run)]
    if is_too_short(run):
        judged = _not_held_against(run, judged)
    kinds = {flag.kind for flag in judged}
    return [
        *judged,
        *(flag for flag in _noticed(run) if flag.kind not in kinds),
        *_still_falling(run),
        *(Flag("a score says little, or is left out", note) for note in run.notes),
    ]


def is_too_short(run: Run) -> bool:
    """Whether a training ended before its model could have learned much, or before val was scored once."""
    seen = run.costs.get("images_seen")
    never_scored = bool(run.curves) and not any(name.startswith("val/") for name in run.curves)
    return never_scored or (seen is not None and is_early(seen))


def _not_held_against(run: Run, judged: list[Flag]) -> list[Flag]:
    """The same with one flag in the place of all collapses."""
    collapses = [f"{flag.kind} ({flag.text})" for flag in judged if flag.is_collapse]
    seen = run.costs.get("images_seen")
    after = "" if seen is None else f"after {seen:,.0f} images "
    short = [Flag(TOO_SHORT, after + ", ".join(collapses))] if collapses else []
    return [*short, *(flag for flag in judged if not flag.is_collapse)]


def _judged(run: Run) -> Iterator[Flag]:
    """By the limits that training is watched by, too; with when it was noticed there."""
    noticed = {entry.kind: entry for entry in run.health}
    missing = [score.value for column, score in run.scores.items() if column.score.startswith(MISSING_MODES)]
    judgements: list[Judgement | None] = [
        identical_samples(run.sample_diversity),
        *map(missing_modes, map(float, missing)),
        no_active_latent(run.kl_by_dimension),
    ]
    for found in filter(None, judgements):
        entry = noticed.get(found.kind)
        since = f"; noticed in epoch {entry.epoch}, after {entry.images_seen:,} images" if entry else ""
        yield Flag(found.kind, found.text + since, found.is_collapse)


def _noticed(run: Run) -> Iterator[Flag]:
    """What was seen while the model was trained, and does not show in its scores."""
    for entry in run.health:
        yield Flag(entry.kind, f"in epoch {entry.epoch}, after {entry.images_seen:,} images: {entry.text}")


def _hardly_varied(run: Run) -> Iterator[Flag]:
    """Precise, and far from the variety of real images: few kinds of samples, or blurs to which precision is blind."""
    for extractor, of in _by_extractor(run).items():
        if not {"precision", "recall", "coverage"} <= of.keys():
            continue
        shares = {name: value / floor for name, (value, floor) in of.items() if floor}
        low = max(shares.get("recall", 1), shares.get("coverage", 1)) < LOW_RECALL
        if low and shares.get("precision", 0) > PRAISED_ABOVE:
            values = ", ".join(f"{name} {of[name][0]:.3f} (floor {of[name][1]:.3f})" for name in ("recall", "coverage"))
            text = f"{values} at precision {of['precision'][0]:.3f}, by {extractor}"
            yield Flag("samples hardly vary", text, is_collapse=True)


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

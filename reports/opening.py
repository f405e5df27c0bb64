"""What a reader sees first of a data set: real images, each model's samples beside them, who wins and at what cost."""

from collections.abc import Sequence
from typing import NamedTuple

from .allowance import MOST_MODELS, Allowance
from .charts import colour_of
from .comparison import Contender
from .extractors import bare_name
from .formatting import number, rounded_count, seconds, signed
from .headline import verb
from .models import Model
from .pictures import LARGEST_PICTURE, LinkedPicture, Picture, RealImages, picture_of, real_images
from .ranking import arrow, summary_over_seeds
from .runs import Column
from .statistics import summarize

SAMPLES = "samples_fixed_final"
AT_FIRST = 4  # models beside the real images
SHARE, SHARE_OF_OTHERS = 0.4, 0.35  # of what pictures may take: those at first, and then those on request
SIDE_OF_OTHERS = 480  # pixels


class Entry(NamedTuple):
    """One model: its samples, its score and what it took."""

    name: str
    colour: str
    picture: Picture | LinkedPicture | None
    score: str
    interval: str
    against: str  # the best: by how much it is behind, and how sure that is
    cost: str
    warnings: str


class Opening(NamedTuple):
    verdict: str  # who won, in a few words
    real: RealImages | None
    entries: list[Entry]
    others: list[Entry]  # those that come on request
    further: int  # models that have no entry, for they are too many


def opening_of(
    models: Sequence[Model], deciding: Column | None, contenders: Sequence[Contender], allowance: Allowance
) -> Opening:
    """Of the models on one data set, the best first, and how the others compare with it."""
    finished = [model for model in models if model.finished]
    best = at_first(finished)
    first = [model for model in finished if model in best]
    others = [model for model in finished if model not in first][:MOST_MODELS]
    compared = {id(contender.model): contender for contender in contenders}

    def entries_of(shown: Sequence[Model], side: int, most: int) -> list[Entry]:
        return [
            entry_of(
                model,
                models.index(model),
                deciding,
                compared.get(id(model)),
                samples_of(model, allowance, most, side),
            )
            for model in shown
        ]

    most = allowance.each(len(first) + 1, SHARE)
    return Opening(
        verdict_of(models, deciding, contenders),
        real_images(finished, allowance, most),
        entries_of(first, LARGEST_PICTURE, most),
        entries_of(others, SIDE_OF_OTHERS, allowance.each(len(others), SHARE_OF_OTHERS)),
        further=len(finished) - len(first) - len(others),
    )


def at_first(models: Sequence[Model]) -> list[Model]:
    """The best of each family, then the best of all, as many as there is room for."""
    best = list({model.family: model for model in reversed(models)}.values())
    best.sort(key=models.index)
    others = [model for model in models if model not in best]
    return [*best, *others][:AT_FIRST]


def verdict_of(models: Sequence[Model], deciding: Column | None, contenders: Sequence[Contender]) -> str:
    """`vae (mlp) beats gan (mlp)`; nothing where nothing is compared."""
    if deciding is None or not contenders:
        return ""
    return f"{models[0].name} {verb(models[0], contenders[0], deciding)} {contenders[0].model.name}"


def entry_of(
    model: Model,
    place: int,
    deciding: Column | None,
    contender: Contender | None,
    samples: Picture | LinkedPicture | None,
) -> Entry:
    score, interval = score_of(model, deciding) if deciding else ("", "")
    return Entry(
        model.name,
        colour_of(place),
        samples,
        score,
        interval,
        against_of(contender) if contender else ("the best" if place == 0 and score else ""),
        cost_of(model),
        ", ".join(f"{kind} ({len(flags)} of {len(model.seeds)})" for kind, flags in model.flags.items()),
    )


def samples_of(model: Model, allowance: Allowance, most: int, side: int) -> Picture | LinkedPicture | None:
    """The final samples of the first seed."""
    run = model.first
    if run is None:
        return None
    caption = model.name if run.seed is None else f"{model.name}, seed {run.seed}"
    alt = f"Samples from the same latents' seed: {caption}"
    return picture_of(run, SAMPLES, caption, alt, allowance, most, side)


def score_of(model: Model, column: Column) -> tuple[str, str]:
    """The mean with its score's name, and its interval or how many seeds it is of."""
    if not model.values(column):
        return "", ""
    summary = summary_over_seeds(model, column)
    value = number(summary.mean)
    over = model.outcome(column)
    if summary.low is not None and summary.high is not None:
        over = f"[{number(summary.low)}, {number(summary.high)}], {over}"
    return f"{bare_name(column)}{arrow(column.score)} {value}", over


def against_of(contender: Contender) -> str:
    """`+0.186, far more than noise`."""
    if contender.is_equal:
        return "equal to the best"
    verdict = contender.significance.verdict.removeprefix("is ")
    return f"{signed(contender.comparison.difference)}: {verdict}"


def cost_of(model: Model) -> str:
    """`271 s, 2.98 M parameters`, of means over seeds."""
    means = []
    for name, written in (("seconds", seconds), ("parameters", rounded_count)):
        known = [run.costs[name] for run in model.finished if name in run.costs]
        if known:
            means.append(written(summarize(known).mean) + (" parameters" if name == "parameters" else ""))
    return " · ".join(means)

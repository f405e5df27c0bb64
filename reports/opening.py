"""What a reader sees first of a data set: real images, each model's samples beside them, who wins and at what cost."""

from collections.abc import Sequence
from typing import NamedTuple

from .charts import colour_of
from .comparison import Contender
from .extractors import bare_name
from .formatting import number, rounded_count, seconds, signed
from .headline import verb
from .models import Model
from .pictures import Picture, RealImages, picture_of, real_images
from .ranking import arrow, summary_over_seeds
from .runs import Column
from .statistics import summarize

SAMPLES = "samples_fixed_final"
AT_FIRST = 4  # models beside the real images
MOST_PICTURES = 40  # of models; more would make a page that no one can send
SMALLER = {8: 760, 20: 480, MOST_PICTURES: 300}  # up to so many models: pixels a side


class Entry(NamedTuple):
    """One model: its samples, its score and what it took."""

    name: str
    colour: str
    picture: Picture | None
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


def opening_of(models: Sequence[Model], deciding: Column | None, contenders: Sequence[Contender]) -> Opening:
    """Of the models on one data set, the best first, and how the others compare with it."""
    finished = [model for model in models if model.finished]
    first = at_first(finished)
    side = side_of_pictures(finished)
    compared = {id(contender.model): contender for contender in contenders}
    entries = {
        id(model): entry_of(
            model, models.index(model), deciding, compared.get(id(model)), side if rank < MOST_PICTURES else None
        )
        for rank, model in enumerate(finished)
    }
    return Opening(
        verdict_of(models, deciding, contenders),
        real_images(finished),
        [entries[id(model)] for model in finished if model in first],
        [entries[id(model)] for model in finished if model not in first],
    )


def side_of_pictures(models: Sequence[Model]) -> int:
    """Pixels: many models have smaller pictures."""
    return next((side for most, side in SMALLER.items() if len(models) <= most), min(SMALLER.values()))


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


def entry_of(model: Model, place: int, deciding: Column | None, contender: Contender | None, side: int | None) -> Entry:
    score, interval = score_of(model, deciding) if deciding else ("", "")
    return Entry(
        model.name,
        colour_of(place),
        samples_of(model, side) if side else None,
        score,
        interval,
        against_of(contender) if contender else ("the best" if place == 0 and score else ""),
        cost_of(model),
        ", ".join(f"{kind} ({len(flags)} of {len(model.seeds)})" for kind, flags in model.flags.items()),
    )


def samples_of(model: Model, side: int) -> Picture | None:
    """The final samples of the first seed."""
    run = model.first
    if run is None:
        return None
    caption = model.name if run.seed is None else f"{model.name}, seed {run.seed}"
    return picture_of(run, SAMPLES, caption, f"Samples from the same latents' seed: {caption}", side)


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

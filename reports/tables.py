"""The tables of a report, the same for the page and for Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

from run_folder.judgements import (
    EARLY_UNTIL,
    IDENTICAL_BELOW,
    INACTIVE_BELOW,
    LOW_RECALL,
    MOST,
    PRAISED_ABOVE,
    STEEP,
)
from scoring.published import published_under

from .comparison import Contender
from .extractors import accuracy_of, bare_name, extractor_of
from .fairness import UNKNOWN, latents_of, weights_of
from .flags import LAST_PART, Flag
from .formatting import ABSENT, count, number, number_formatter, p_value, percent, plus_minus, setting, signed
from .models import Model, differences, is_trained
from .ranking import arrow, best_of, direction, hardly_varied, short_name, summary_over_seeds
from .runs import FINISHED, Column, Run
from .statistics import Seed, summarize

SCORES_NOTE = (
    "Mean ± standard deviation over training seeds [95 % interval of the mean, by Student's t on a scale that keeps it "
    "inside what the score can be: log or logit, from three seeds on]. Above the scores what measured them, and the "
    "hash of its protocol: other hash, other column."
)
CHOSEN_NOTE = (
    "{measured}Mean ± standard deviation over training seeds [95 % interval of the mean]. Bold: the best. Seconds are "
    "those of training, with its pictures and val scores{around}."
)
AROUND = ", and with its start and end: {share} of them, for these runs are short"
MUCH = 0.1  # of the seconds of training
NOT_CROWNED = (
    " Bold passes over a precision or density whose recall is below a tenth of the floor's ({names}): a model that "
    "draws a few images, blurs or plain noise can have all of them close to real ones."
)
COMPARISON_NOTE = (
    "{score} under protocol {protocol}, each model minus the best, {best}. Seeds are no pairs: a VAE and a GAN share "
    "nothing but the number. The last but one column says in how many pairs of one seed of each the best is better."
)
PICKED_NOTE = (
    " The best was picked out of {models} models by the values that are tested: the second p, by which the words go, "
    "is corrected for every pair that could have been looked at (Šidák); the intervals are not."
)
FLAGS_NOTE = (
    "By what the runs left, and what was noticed while they were trained; flagged runs count in all means. Collapsed: "
    f"samples' pixels spread less than {IDENTICAL_BELOW:g} of real images', recall and coverage are below "
    f"{LOW_RECALL:g} of the floor's at a precision above {PRAISED_ABOVE:g} of it, {percent(MOST)} of the classes or "
    f"more are missing, or no latent carries {INACTIVE_BELOW:g} nat. Too short to judge so: a run of fewer than "
    f"{EARLY_UNTIL:,} images, or one that val never scored. Not converged: val's score fell by more than "
    f"{percent(STEEP)} in the last {percent(LAST_PART)} of training."
)
CHOSEN = ("precision", "recall", "coverage")  # beside the score that decides
COSTS_NOTE = (
    "Of training, with its pictures and val scores; mean ± standard deviation over runs. Start and end: the part of "
    "the wall time beyond the pace between the first and the last point of a run's curves; the first run of a sweep "
    "warms the program up for the others."
)
UNFINISHED_NOTE = "Runs that failed, diverged, were stopped or can't be read count in no mean above."
PROVENANCE = ("date", "version", "commit", "device", "libraries", "command")
PROVENANCE_NOTE = (
    "As the run's own records state it: of the training, and in a row of its own of what evaluate.py scored later. The "
    "command makes the same run, but for where its files lie."
)
DIFFERENCES_NOTE = (
    "Only what differs; {shared} other settings are the same for all. Seeds, paths and pictures are left out."
)


class Cell(NamedTuple):
    text: str
    detail: str = ""  # a second line
    order: float | str | None = None  # what sorting goes by; None: last
    best: bool = False


class Heading(NamedTuple):
    text: str
    detail: str = ""
    group: str = ""  # what it shares with its neighbours: said once above them


@dataclass
class Table:
    title: str
    headings: list[Heading]
    rows: list[list[Cell]]
    note: str = ""
    fixed: list[list[Cell]] = field(default_factory=list)  # rows to compare with, below the others
    background: bool = False  # for the end of the page

    @property
    def groups(self) -> list[tuple[str, int]]:
        """What neighbouring headings share, and how many of them do."""
        return [(group, len(list(same))) for group, same in groupby(heading.group for heading in self.headings)]


def chosen_table(models: Sequence[Model], columns: Sequence[Column], deciding: Column) -> Table:
    """What most readers want to know: the score that decides, a few others of its protocol, and what it took."""
    scored = [model for model in models if model.finished]
    shown = chosen_columns(columns, deciding)
    names = [bare_name(column) for column in shown]
    scores = [name + arrow(column.score) for name, column in zip(names, shown, strict=True)]
    headings = [Heading(name) for name in ("model", *scores, "seconds", "parameters", "seeds")]
    best = {column: best_of(scored, column) for column in shown}
    rows = [
        [
            Cell(model.name, order=model.name),
            *(score_cell(model, column, model in best[column], brief=True) for column in shown),
            cost_cell(model, lambda run: run.costs.get("seconds")),
            cost_cell(model, lambda run: run.costs.get("parameters")),
            seeds_cell(model),
        ]
        for model in scored
    ]
    fixed = floor_row(scored, shown, before=1, after=3)
    note = CHOSEN_NOTE.format(measured=measured_by(scored, deciding), around=around_steps(scored))
    note += not_crowned(scored, shown)
    return Table("Results", headings, rows, note, [fixed] if fixed else [])


def around_steps(models: Sequence[Model]) -> str:
    """Which part of the seconds went into runs' starts and ends, where that is much of them."""
    shares = [share for model in models for run in model.finished if (share := share_around_steps(run)) is not None]
    return AROUND.format(share=percent(round(fmean(shares), 2))) if shares and fmean(shares) > MUCH else ""


def share_around_steps(run: Run) -> float | None:
    around = run.seconds_around_steps
    return around / run.costs["seconds"] if around is not None and run.costs["seconds"] else None


def chosen_columns(columns: Sequence[Column], deciding: Column) -> list[Column]:
    """The one that decides, and of its protocol those in CHOSEN."""
    extractor = extractor_of(deciding)
    wanted = [Column(f"test/{name}_{extractor}", deciding.protocol) for name in CHOSEN]
    return [deciding, *(column for column in wanted if column in columns and column != deciding)]


def measured_by(models: Sequence[Model], column: Column) -> str:
    """`Scores are by reference, protocol 01e72da4.`"""
    by = " by ".join(filter(None, ["Scores on test images", extractor_of(column)]))
    return "; ".join(filter(None, [f"{by}, protocol {column.protocol}", accuracy_of(models, column)])) + ". "


def scores_table(models: Sequence[Model], columns: Sequence[Column], protocols: Mapping[str, Any]) -> Table:
    """Every score of every model; below them what real images score, and what others have published."""
    scored = [model for model in models if model.finished]
    headings = [Heading("model"), Heading("seeds"), Heading("weights")]
    headings += [score_heading(scored, column) for column in columns]
    best = {column: best_of(scored, column) for column in columns}
    rows = [
        [
            Cell(model.name, order=model.name),
            seeds_cell(model),
            weights_cell(model, columns),
            *(score_cell(model, column, model in best[column]) for column in columns),
        ]
        for model in scored
    ]
    note = SCORES_NOTE + not_crowned(scored, columns)
    fixed = [floor_row(scored, columns), *published_rows(columns, protocols)] if columns else []
    return Table("All scores", headings, rows, note, [row for row in fixed if row], background=True)


def not_crowned(models: Sequence[Model], columns: Sequence[Column]) -> str:
    """Whose precision and density are passed over, and why; nothing where none are."""
    names = [model.name for model in models if any(hardly_varied(model, column) for column in columns)]
    return NOT_CROWNED.format(names=", ".join(names)) if names else ""


def score_heading(models: Sequence[Model], column: Column) -> Heading:
    group = [extractor_of(column), column.protocol, accuracy_of(models, column)]
    return Heading(bare_name(column) + arrow(column.score), group=" · ".join(filter(None, group)))


def seeds_cell(model: Model) -> Cell:
    """How many seeds finished; below that what became of the others, and what is suspicious about these."""
    counted, *lost = model.outcome().split("; ")
    flagged = [f"{len(flagged_seeds(flags))} {kind}" for kind, flags in model.flags.items() if not is_collapse(flags)]
    return Cell(counted.rsplit(" ", 1)[0], "; ".join([*lost, *flagged]), len(model.seeds))


def flagged_seeds(flags: Sequence[tuple[Seed, Flag]]) -> list[Seed]:
    """Each once, however often it is flagged."""
    return list(dict.fromkeys(seed for seed, _ in flags))


def is_collapse(flags: Sequence[tuple[Seed, Flag]]) -> bool:
    return any(flag.is_collapse for _, flag in flags)


def weights_cell(model: Model, columns: Sequence[Column]) -> Cell:
    """The weights that the scores are of, and what latents were drawn from."""
    own = [column for column in columns if model.values(column)]
    weights = dict.fromkeys(weights_of(model, column) for column in own)
    latents = [source for source in dict.fromkeys(latents_of(model, column) for column in own) if source != UNKNOWN]
    return Cell(" and ".join(weights) or ABSENT, f"latents: {' and '.join(latents)}" if latents else "")


def score_cell(model: Model, column: Column, best: bool, brief: bool = False) -> Cell:
    """A score's mean and spread; below them the interval, and unless it is to be brief the best seed."""
    values = model.values(column)
    if not values:
        return Cell(ABSENT)
    summary = summary_over_seeds(model, column)
    details = [f"{summary.n} of {len(model.seeds)} seeds"] if summary.n < len(model.seeds) else []
    formatted = number_formatter(summary)
    if summary.low is not None and summary.high is not None:
        details.append(f"[{formatted(summary.low)}, {formatted(summary.high)}]")
    if not brief and summary.std is not None and (sign := direction(column.score)):
        seed = max(values, key=lambda seed: sign * values[seed])
        details.append(f"best {formatted(values[seed])} (seed {seed})")
    if hardly_varied(model, column):
        details.append("recall near 0")
    return Cell(plus_minus(summary), " · ".join(details), summary.mean, best)


def floor_row(models: Sequence[Model], columns: Sequence[Column], before: int = 3, after: int = 0) -> list[Cell]:
    """What as many real images score; the same for all runs of a protocol. With so many cells around the scores."""
    floors = {
        column: score.floor
        for model in models
        for run in model.finished
        for column, score in run.scores.items()
        if score.floor is not None
    }
    if not floors:
        return []
    cells = [Cell(number(floors[column]) if column in floors else "") for column in columns]
    return [Cell("floor: real training images"), *[Cell("")] * (before - 1), *cells, *[Cell("")] * after]


def published_rows(columns: Sequence[Column], protocols: Mapping[str, Any]) -> list[list[Cell]]:
    """What others published under the protocol of a column, a row each."""
    rows = []
    for column in columns:
        for score in published_under(protocols.get(column.protocol, {})):
            if f"test/{score.score}" == column.score:
                value = Cell(score.text)
                label = Cell(f"published: {score.model}", "; ".join(filter(None, [score.source, score.remark])))
                cells = [value if other == column else Cell("") for other in columns]
                rows.append([label, Cell(""), Cell(""), *cells])
    return rows


def comparison_table(best: Model, contenders: Sequence[Contender], column: Column) -> Table:
    """Whether the others differ from the best model by more than noise."""
    several = len(contenders) > 1
    p_values = [Heading("p"), *([Heading("p, corrected", "for picking")] if several else [])]
    first, last = map(Heading, ["model", "weights", "difference"]), Heading("in words")
    headings = [*first, *p_values, Heading("test"), Heading("pairs won", "by the best"), last]
    rows = [comparison_row(contender, column, corrected=several) for contender in contenders]
    note = COMPARISON_NOTE.format(
        score=short_name(column.score), protocol=column.protocol, best=f"{best.name} ({weights_of(best, column)})"
    )
    if several:
        note += PICKED_NOTE.format(models=len(contenders) + 1)
    return Table("Is the difference more than noise?", headings, rows, note)


def comparison_row(contender: Contender, column: Column, corrected: bool) -> list[Cell]:
    """With a column for the corrected p value, if there is one in the table."""
    comparison = contender.comparison
    tested = isfinite(comparison.p)
    interval = f"[{number(comparison.low)}, {number(comparison.high)}]" if comparison.test else ""
    p_values = [comparison.p, contender.corrected_p] if corrected else [comparison.p]
    won = comparison.larger if direction(column.score) < 0 else 1 - comparison.larger
    words = "they are equal" if contender.is_equal else f"the difference {contender.significance.verdict}"
    if not contender.model.counts_all(column):
        words += f", over survivors: {contender.model.outcome(column)}"
    return [
        Cell(contender.model.name, order=contender.model.name),
        weights_cell(contender.model, [column]),
        Cell(signed(comparison.difference), interval, comparison.difference),
        *(Cell(p_value(p), order=p) if tested else Cell(ABSENT) for p in p_values),
        Cell(comparison.test or "none", f"({comparison.n[0]} and {comparison.n[1]} seeds)", comparison.test),
        Cell(percent(won), order=won),
        Cell(words),
    ]


def in_percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


COSTS: tuple[tuple[Heading, Callable[[Run], float | None]], ...] = (
    (Heading("parameters"), lambda run: run.costs.get("parameters")),
    (Heading("images seen"), lambda run: run.costs.get("images_seen")),
    (Heading("epochs"), lambda run: run.costs.get("epochs")),
    (Heading("wall time", "minutes"), lambda run: run.cost("seconds", unit=60)),
    (Heading("start and end", "% of wall time"), lambda run: in_percent(share_around_steps(run))),
    (Heading("images per second"), lambda run: run.images_per_second),
    (Heading("peak memory", "MiB"), lambda run: run.cost("peak_memory_bytes", unit=2**20)),
)


def costs_table(models: Sequence[Model]) -> Table:
    rows = [
        [Cell(model.name, order=model.name), *(cost_cell(model, cost_of) for _, cost_of in COSTS)]
        for model in models
        if any(run.costs for run in model.finished)
    ]
    headings = [Heading("model"), *(heading for heading, _ in COSTS)]
    return Table("What it cost", headings, rows, COSTS_NOTE, background=True)


def cost_cell(model: Model, cost_of: Callable[[Run], float | None]) -> Cell:
    costs = [cost for run in model.finished if (cost := cost_of(run)) is not None]
    if not costs:
        return Cell(ABSENT)
    summary = summarize(costs)
    constant = len(set(costs)) == 1  # counts, that no seed changes
    return Cell(count(costs[0]) if constant else plus_minus(summary), order=summary.mean)


def flags_table(models: Sequence[Model]) -> Table:
    """What is suspicious about runs that finished, a row for each kind of it."""
    rows = [
        [
            Cell(model.name, order=model.name),
            Cell(kind, "collapsed" if is_collapse(flags) else "", kind),
            Cell(", ".join(map(str, flagged_seeds(flags))), f"{len(flagged_seeds(flags))} of {len(model.seeds)} seeds"),
            Cell(flags[0][1].text if len(flags) == 1 else f"seed {flags[0][0]}: {flags[0][1].text}"),
        ]
        for model in models
        for kind, flags in model.flags.items()
    ]
    return Table("To be careful with", list(map(Heading, ["model", "what", "seeds", "by what"])), rows, FLAGS_NOTE)


def unfinished_table(models: Sequence[Model]) -> Table:
    """What ended otherwise than it should, and what was left out of a finished run."""
    rows = [
        unfinished_row(model, run, message)
        for model in models
        for run in model.runs
        for message in ([run.message] if run.status != FINISHED else []) + run.remarks
    ]
    headings = ["run", "model", "seed", "status", "images seen", "message"]
    return Table("Runs that need a look", list(map(Heading, headings)), rows, UNFINISHED_NOTE)


def unfinished_row(model: Model, run: Run, message: str) -> list[Cell]:
    seen = run.costs.get("images_seen")
    return [
        Cell(run.name, order=run.name),
        Cell(model.name if run.model else ABSENT, order=model.name),
        Cell(ABSENT if run.seed is None else str(run.seed), order=run.seed),
        Cell(run.status, order=run.status),
        Cell(ABSENT if seen is None else count(seen), order=seen),
        Cell(message),
    ]


def provenance_table(models: Sequence[Model]) -> Table:
    """How each run was made; a column for what any of them says."""
    runs = [run for model in models for run in model.finished]
    made = [(run, "training", run.made) for run in runs] + [(run, "evaluation", run.evaluated) for run in runs]
    known = [(run, what, facts) for run, what, facts in made if facts]
    known.sort(key=lambda entry: runs.index(entry[0]))
    names = [name for name in PROVENANCE if any(name in facts for _, _, facts in known)]
    rows = [
        [Cell(run.name, order=run.name), Cell(what), *(Cell(facts.get(name, ABSENT)) for name in names)]
        for run, what, facts in known
    ]
    headings = list(map(Heading, ["run", "of its", *names]))
    return Table("How each run was made", headings, rows, PROVENANCE_NOTE, background=True)


def differences_table(models: Sequence[Model]) -> Table:
    """The settings in which models differ; those that always have the same value share a row."""
    trained = [model for model in models if is_trained(model)]
    differing = differences([model.settings for model in trained])
    rows = [
        [
            Cell(first, f"also {', '.join(others)}" if others else "", first),
            *(Cell(setting(model.settings.get(first, ABSENT))) for model in trained),
        ]
        for first, *others in differing
    ]
    shared = len({key for model in trained for key in model.settings}) - sum(map(len, differing))
    headings = [Heading("setting"), *(Heading(model.name) for model in trained)]
    return Table("How the settings differ", headings, rows, DIFFERENCES_NOTE.format(shared=shared), background=True)

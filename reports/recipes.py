"""Recipes: where the settings of each model came from, and what separates two recipes of one family."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from .fairness import UNKNOWN, searches_of, trials_of
from .formatting import ABSENT, count, listed, setting
from .models import Model, differences, is_detail, is_trained, named_settings, shortened
from .tables import Cell, Heading, Table

FOUND_NOTE = (
    "Settings tried: how many were judged on val before these were chosen, themselves among them, as the run's config "
    "states it; 1 is no search. {verdict}"
)
EQUAL = "Each family's recipes were chosen out of as many as the others' ({tried})."
UNEQUAL = "Not equal between families: {tried}. More tries alone make a better score likelier."
NOT_KNOWN = "Not known of {families}."
SEPARATES_NOTE = "{words} Details of a part that differs are left out here; all of them: How the settings differ."
ORDER = ("parameters", "images seen", "network", "model", "data", "trainer")  # sections of the config; others follow
PLAIN = {"lr": "learning rate", "max_epochs": "epochs"}  # words of dotted names; others have spaces for underscores
BUDGET = "network.parameters"  # of each network, by which the config's own widths are replaced
WIDTHS = ("network.encoder.width", "network.decoder.width")


class Recipe(NamedTuple):
    """The models of one family that came from one experiment."""

    name: str
    choices: str  # the models, as they were typed
    facts: dict[str, str]  # a setting by its dotted name, or a cost: all values that its models have


def found_table(models: Sequence[Model]) -> Table:
    """How the settings of each model were found; no rows where nothing came from an experiment or a search."""
    trained = [model for model in models if is_trained(model)]
    headings = list(map(Heading, ["model", "family", "experiment", "settings tried", "by"]))
    if not any(model.experiments or searches_of(model) or trials_of(model) not in (None, [1]) for model in trained):
        trained = []
    rows = [
        [
            Cell(model.name, order=model.name),
            Cell(model.family),
            Cell(listed(model.experiments) if model.experiments else ABSENT),
            Cell(_numbers(trials), order=trials[-1]) if (trials := trials_of(model)) else Cell(UNKNOWN),
            Cell(listed(searches_of(model)) if searches_of(model) else ABSENT),
        ]
        for model in trained
    ]
    note = FOUND_NOTE.format(verdict=verdict_on_trials(trained)).strip()
    return Table("How each recipe was found", headings, rows, note)


def verdict_on_trials(models: Sequence[Model]) -> str:
    """Whether each family's recipes were chosen out of as many; nothing of a single family."""
    families = families_of(models)
    tried: dict[str, list[int]] = {}
    for family, members in families.items():
        numbers = list(map(trials_of, members))
        known = [trials for trials in numbers if trials is not None]
        if len(known) == len(numbers):
            tried[family] = sorted({trial for trials in known for trial in trials})
    if len(families) < 2:
        return ""
    if len(tried) < len(families):
        return NOT_KNOWN.format(families=listed([family for family in families if family not in tried]))
    if all(trials == next(iter(tried.values())) for trials in tried.values()):
        return EQUAL.format(tried=_numbers(next(iter(tried.values()))))
    return UNEQUAL.format(tried=", ".join(f"{family} {_numbers(trials)}" for family, trials in tried.items()))


def separation_tables(models: Sequence[Model]) -> list[Table]:
    """A table for each family that has recipes that differ: its settings in each of them, and the same in words."""
    tables = []
    for family, members in families_of([model for model in models if is_trained(model)]).items():
        recipes = recipes_of(members)
        if len(recipes) > 1:
            tables.append(separation_table(family, recipes))
    return tables


def separation_table(family: str, recipes: Sequence[Recipe]) -> Table:
    """Of settings that differ a row each; later recipes are compared with the first in words."""
    labels = labelled_differences([recipe.facts for recipe in recipes])
    rows = [
        [Cell(label, order=label), *(Cell(recipe.facts.get(key, ABSENT)) for recipe in recipes)]
        for key, label in labels.items()
    ]
    first, *others = recipes
    words = " ".join(in_words(first, other, labels) for other in others)
    headings = [Heading("setting"), *(Heading(recipe.name, recipe.choices) for recipe in recipes)]
    title = f"What separates the recipes of {family}"
    return Table(title, headings, rows, SEPARATES_NOTE.format(words=words))


def in_words(first: Recipe, other: Recipe, labels: Mapping[str, str]) -> str:
    """`fair differs from paper in: likelihood (discretized_logistic against bernoulli), …`."""
    values = {label: [recipe.facts.get(key, ABSENT) for recipe in (other, first)] for key, label in labels.items()}
    unequal = [f"{label} ({' against '.join(pair)})" for label, pair in values.items() if pair[0] != pair[1]]
    return f"{other.name} differs from {first.name} in: {listed(unequal)}."


def labelled_differences(facts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The settings in which recipes differ, in plain words, by dotted name; of a part that differs no details."""
    keys = sorted((same[0] for same in differences(facts)), key=_place)
    shown = [key for key in keys if not is_detail(key, keys)]
    return {key: "parameters allowed" if key == BUDGET else plain(shortened(key, shown)) for key in shown}


def plain(name: str) -> str:
    """A dotted name as words: `generator optimizer learning rate`."""
    return " ".join(PLAIN.get(word, word.replace("_", " ")) for word in name.split("."))


def recipes_of(models: Sequence[Model]) -> list[Recipe]:
    """One family's models by the experiment and the choice of model that they came from, in the models' order.

    Experiments with the very same models are one recipe; what a sweep varies within one is no difference of recipes.
    """
    members: dict[tuple[str | None, str | None], list[Model]] = {}
    for model in models:
        for origin in dict.fromkeys((run.experiment, run.model) for run in model.runs):
            members.setdefault(origin, []).append(model)
    origins: dict[tuple[Model, ...], list[tuple[str | None, str | None]]] = {}
    for origin, own in members.items():
        origins.setdefault(tuple(own), []).append(origin)
    names = [listed(_unique(experiment or choice for experiment, choice in same)) for same in origins.values()]
    recipes = []
    for name, (shared, same) in zip(names, origins.items(), strict=True):
        choices = listed(_unique(choice for _, choice in same))
        is_ambiguous = names.count(name) > 1 and choices != name
        recipes.append(Recipe(f"{choices} of {name}" if is_ambiguous else name, choices, facts_of(shared, models)))
    return recipes


def facts_of(models: Sequence[Model], family: Sequence[Model]) -> dict[str, str]:
    """What recipes can differ in: costs that tell sizes, the network, and every setting that decides the weights."""
    named = [named_settings(model, family) for model in models]
    keys = dict.fromkeys(key for settings in named for key in settings)
    facts = {
        "parameters": _cost(models, "parameters"),
        "images seen": _cost(models, "images_seen"),
        "network": listed(_unique(run.network for model in models for run in model.runs)),
    }
    values = {key: _unique(_value(key, one) for one in named) for key in keys}
    known = {key: fact for key, fact in facts.items() if fact}
    return known | {key: listed(distinct) for key, distinct in values.items()}


def _value(key: str, settings: Mapping[str, Any]) -> str:
    """One of a model's settings as text."""
    budget = settings.get(BUDGET)
    if isinstance(budget, int | float):
        if key == BUDGET:
            return f"{count(budget)} a network"
        if key in WIDTHS:
            return "as the parameters allow"
    return setting(settings[key]) if key in settings else ABSENT


def _cost(models: Sequence[Model], cost: str) -> str:
    """A mean for each model, in words; nothing where none is known."""
    known = [[run.costs[cost] for run in model.finished if cost in run.costs] for model in models]
    return listed(_unique(count(fmean(costs)) for costs in known if costs))


def families_of(models: Iterable[Model]) -> dict[str, list[Model]]:
    families: dict[str, list[Model]] = {}
    for model in models:
        families.setdefault(model.family, []).append(model)
    return families


def _unique(words: Iterable[str | None]) -> list[str]:
    """Each once, in order; nothing for what is not known."""
    return list(dict.fromkeys(word for word in words if word is not None))


def _numbers(trials: Sequence[int]) -> str:
    return listed(list(map(str, trials)))


def _place(key: str) -> int:
    """Where a setting stands in the table: by the section that it is in."""
    section = key.partition(".")[0]
    return ORDER.index(section) if section in ORDER else len(ORDER)

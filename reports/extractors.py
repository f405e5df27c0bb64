"""How well the network that a score is measured in reads the real test images: little, unknown, or well."""

from collections.abc import Sequence

from .formatting import percent
from .models import Model
from .ranking import short_name
from .runs import Column

TRUSTED_ABOVE = 0.75  # accuracy, as for a score that goes by classes
NEEDS_NONE = ("test/nll", "test/bits_per_dim", "test/active", "test/accuracy")  # scores without an extractor


def accuracy_of(models: Sequence[Model], column: Column) -> str:
    """What must stand beside a score: a low or unknown accuracy of its extractor; nothing of a high one."""
    if column.score.startswith(NEEDS_NONE):
        return ""
    runs = [run for model in models for run in model.finished if column in run.scores]
    if not any("extractor" in run.protocols[column.protocol] for run in runs):
        return ""
    known = [run.extractor_accuracy[column.protocol] for run in runs if column.protocol in run.extractor_accuracy]
    if not known:
        return "extractor of unknown accuracy"
    if min(known) >= TRUSTED_ABOVE:
        return ""
    return f"extractor right about only {percent(min(known))} of the real test images"


def extractor_of(column: Column) -> str:
    """`reference` of `test/fid_reference`; nothing for a score that needs none."""
    return "" if column.score.startswith(NEEDS_NONE) else column.score.rpartition("_")[2]


def bare_name(column: Column) -> str:
    """`fid` of `test/fid_reference`."""
    extractor = extractor_of(column)
    return short_name(column.score).removesuffix(f"_{extractor}") if extractor else short_name(column.score)

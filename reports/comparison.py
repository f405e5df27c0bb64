"""Every model against the best one."""

from collections.abc import Sequence
from typing import NamedTuple

from .models import Model
from .runs import Column
from .statistics import Comparison, Significance, compare, corrected_for_picking, significance_of


class Contender(NamedTuple):
    """A model that is compared with the best one."""

    model: Model
    comparison: Comparison  # its values minus the best one's
    corrected_p: float  # for the best having been picked by its values

    @property
    def significance(self) -> Significance:
        return significance_of(self.corrected_p, self.comparison)

    @property
    def is_equal(self) -> bool:
        return self.comparison.difference == 0


def contenders(models: Sequence[Model], column: Column) -> list[Contender]:
    """All models that have the score but the first, which is the best."""
    best, *others = scored = [model for model in models if model.values(column)]
    comparisons = [compare(model.values(column), best.values(column)) for model in others]
    corrected = [corrected_for_picking(comparison.p, len(scored)) for comparison in comparisons]
    return [Contender(*fields) for fields in zip(others, comparisons, corrected, strict=True)]

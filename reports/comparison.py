"""Every model against the best one."""

from collections.abc import Sequence
from typing import NamedTuple

from .models import Model
from .runs import Column
from .statistics import Comparison, Significance, compare, holm, significance_of


class Contender(NamedTuple):
    """A model that is compared with the best one."""

    model: Model
    comparison: Comparison  # its values minus the best one's
    corrected_p: float  # by Holm, for all contenders

    @property
    def significance(self) -> Significance:
        return significance_of(self.corrected_p, self.comparison)


def contenders(models: Sequence[Model], column: Column) -> list[Contender]:
    """All models that have the score but the first, which is the best."""
    best, *others = [model for model in models if model.values(column)]
    comparisons = [compare(model.values(column), best.values(column)) for model in others]
    corrected = holm([comparison.p for comparison in comparisons])
    return [Contender(*fields) for fields in zip(others, comparisons, corrected, strict=True)]

"""What a search may choose, as Hydra's override grammar writes it: distributions of Optuna's, and their values.

model.optimizer.lr=interval(1e-4,1e-2)             a number between them
model.optimizer.lr=tag(log,interval(1e-4,1e-2))    the same, by its logarithm
model.latent_dim=int(interval(2,64))               a whole number, both ends included; also in tag(log, …)
network.encoder.depth=range(1,4)                   1, 2 or 3, as everywhere in Hydra; range(0,1,0.25) has steps
network.encoder.width=128,256                      or choice(128,256): one of them, in no order; glob(*) of a group
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from foundation.errors import ConfigError


def split_overrides(overrides: Sequence[Override]) -> tuple[dict[str, str], dict[str, BaseDistribution]]:
    """What is the same in all trials, `{setting: value}`, and what is searched; of a setting's overrides the last."""
    fixed: dict[str, str] = {}
    searched: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        searched.pop(key, None)
        if override.is_sweep_override():
            searched[key] = distribution_of(override)
        else:
            fixed[key] = override.get_value_element_as_str()
    return fixed, searched


def distribution_of(override: Override) -> BaseDistribution:
    """Raises ConfigError for one that has nothing to choose from."""
    value: Any = override._value  # `value()` is of single ones alone
    try:
        if isinstance(value, IntervalSweep):
            return of_interval(value)
        if isinstance(value, RangeSweep):
            return of_range(value)
        return CategoricalDistribution(tuple(override.sweep_string_iterator()))  # texts, as an override has them
    except (ValueError, AssertionError) as error:
        raise ConfigError(f"{override.input_line}: there is nothing to search: {error}") from error


def of_interval(value: IntervalSweep) -> BaseDistribution:
    low, high, is_log = value.start, value.end, "log" in value.tags
    assert low is not None and high is not None
    if (isinstance(low, int) and isinstance(high, int)) or "int" in value.tags:
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(float(low), float(high), log=is_log)


def of_range(value: RangeSweep) -> BaseDistribution:
    """Without its end, as Hydra's ranges are."""
    start, stop, step = value.start, value.stop, value.step
    assert start is not None and stop is not None
    last = start + (ceil((stop - start) / step - 1e-9) - 1) * step
    if all(isinstance(bound, int) for bound in (start, stop, step)):
        return IntDistribution(int(start), int(last), step=int(step))
    return FloatDistribution(float(start), float(last), step=float(step))


def are_of(values: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> bool:
    """Whether these are a value for each setting of a space, and in it."""
    return values.keys() == space.keys() and all(is_in(values[name], space[name]) for name in space)


def is_in(value: Any, distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high

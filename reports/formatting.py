"""Numbers and settings as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .statistics import Comparison, Summary

ABSENT = "—"


def number(value: float) -> str:
    """Three significant digits; thousands in full."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def count(value: float) -> str:
    """A whole number in full; any other as `number` writes it."""
    return f"{value:,.0f}" if value == int(value) else number(value)


def rounded_count(value: float) -> str:
    """Three digits of a large count: `2.98 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return count(value)


def seconds(value: float) -> str:
    """A time as one reads it: `271 s`, `15.3 min`, `2.4 h`."""
    if value < 300:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 2 * 3600 else f"{value / 3600:.3g} h"


def signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def plus_minus(summary: Summary) -> str:
    """Mean ± std, both to the std's second significant digit; of one value, that value."""
    if summary.std is None:
        return number(summary.mean)
    if summary.std == 0:
        return f"{number(summary.mean)} ± 0"
    digits = _decimals(summary.std)
    if digits + exponent(summary.mean) > 9:  # rounding rather than a spread
        return f"{number(summary.mean)} ± {number(summary.std)}"
    return f"{summary.mean:,.{digits}f} ± {summary.std:,.{digits}f}"


def number_formatter(summary: Summary) -> Callable[[float], str]:
    """A formatter of values near the mean: `number`, unless that would write all of them alike."""
    if not summary.std or exponent(summary.mean) - exponent(summary.std) < 3:
        return number
    digits = _decimals(summary.std)
    return lambda value: f"{value:,.{digits}f}"


def of_seeds(counted: int, total: int, lost: Mapping[str, int]) -> str:
    """How many seeds a number is over: `3 of 5 seeds; 2 diverged`."""
    number_of = f"{counted} of {total}" if counted < total else f"{total}"
    return "; ".join([f"{number_of} seed{'s' if total > 1 else ''}", *(f"{n} {status}" for status, n in lost.items())])


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; nothing of nothing."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def size_of_difference(comparison: Comparison) -> str:
    """The absolute difference with its 95 % interval, turned the same way round."""
    size, low, high = abs(comparison.difference), comparison.low, comparison.high
    if low * high < 0:  # the difference may as well be none
        low, high = (-high, -low) if comparison.difference < 0 else (low, high)
    else:
        low, high = sorted((abs(low), abs(high)))
    return f"{number(size)} [{number(low)}, {number(high)}]"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def exponent(value: float) -> int:
    """Of ten, in scientific notation with two digits."""
    return int(f"{value:.1e}".split("e")[1])


def setting(value: Any) -> str:
    """A value of a config."""
    return "null" if value is None else str(value)


def _decimals(std: float) -> int:
    """How many decimals show a standard deviation's second significant digit."""
    return max(0, 1 - exponent(std))

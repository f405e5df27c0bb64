"""What the arguments of a program may ask for, before Hydra composes a config of them: what it would fail at, or pass
over without a word."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import HydraException

from foundation.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
OPTIONAL = ("callbacks.", "logger.", "trainer.", "hydra.")  # of these a run can do without some
LONGEST_SWEEP = 10_000  # jobs


def check_overrides(arguments: Sequence[str]) -> None:
    """Raise ConfigError for an override that asks for no choice, for nothing, or that leaves something out.

    Those that can't be read are left to Hydra.
    """
    for argument in get_args_parser().parse_args(list(arguments)).overrides:
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            continue
        check_override(override, str(override.input_line))


def check_override(override: Override, given: str) -> None:
    setting = override.key_or_group
    if not setting:
        raise ConfigError(f"{given}: there is no setting's name before the =")
    if override.is_delete():
        if not setting.startswith(OPTIONAL):
            raise ConfigError(
                f"{given}: this can't be left out, only be something else, {setting}=…. Callbacks and loggers are "
                "turned off by null, such as callbacks.interpolation=null"
            )
        return
    values = list(islice(values_of(override), LONGEST_SWEEP + 1))
    if not 0 < len(values) <= LONGEST_SWEEP:
        few = "is no value: there would be no job" if not values else f"are more than {LONGEST_SWEEP:,} jobs"
        raise ConfigError(f"{given}: this {few}. Give the values of {setting} that are to be compared")
    for value in values:
        check_given(setting, value, given, adds=override.is_add() or override.is_force_add())


def check_given(setting: str, value: Any, given: str, adds: bool) -> None:
    """Raise ConfigError for one value that a setting can't be given, whatever else is asked for."""
    if setting in FOLDERS and value == "":
        raise ConfigError(f"{setting}: expected a folder, got ''. Leave it away for one of its own, by the clock")
    if value == {} and not adds:
        raise ConfigError(f"{given}: an empty mapping changes nothing. Leave it away, or name what is to be otherwise")
    if (CONF / setting).is_dir() and (value == [] or not isinstance(value, str | list)):
        known = ", ".join(choices_of(setting))
        raise ConfigError(f"{given}: expected a choice of {setting}, one of {known}, or leave it away")


def values_of(override: Override) -> Iterator[Any]:
    """What an override gives its setting: one value, or in a sweep that of each job."""
    value = override._value  # `value()` is of single ones alone
    if isinstance(value, Glob):
        return iter(value.filter(choices_of(override.key_or_group)))
    values = override.sweep_iterator() if override.is_discrete_sweep() else iter([override.value()])
    return (value.text if isinstance(value, QuotedString) else value for value in values)


def choices_of(group: str) -> list[str]:
    """The choices of a group, without what they share."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))

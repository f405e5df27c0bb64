"""Nonsense in the place of every value that conf/ has: it is refused with a word, or it is what may stand there."""

import math
from functools import cache
from typing import Any

from conftest import composed
from test_combinations import DATA, MODELS, NETWORKS, OTHER_GROUPS, choices, part_choices

from foundation.errors import UserError
from jobs.config_check import check_numbers, check_section
from jobs.config_check import sections as sections_of
from run_folder.choices import TARGET
from run_folder.settings import as_dict

NONSENSE = [None, math.nan, math.inf, -math.inf, -1, 0, 1e300, "", [], {}, "x", 2**64, True]
NEVER = [math.nan, math.inf, -math.inf, 1e300, {}, 2**64]  # whatever a setting is for
# Settings that are free texts or may be left open are believed where nothing else is known of them.
Section = tuple[str, dict[str, Any]]


@cache
def all_sections() -> dict[str, Section]:
    """Every class that the choices of conf/ name with its section, and the section's place, by both."""
    compositions = [
        *([f"model={model}", f"{key}={choice}"] for model in MODELS for key, choice in part_choices("model", f"model={model}")),
        *([f"network={network}"] for network in NETWORKS),
        *([f"network/norm@network.encoder.norm={norm}"] for norm in choices("network/norm")),
        *([f"data={data}"] for data in DATA),
        *([f"{group}={choice}"] for group in OTHER_GROUPS for choice in choices(group)),
    ]  # fmt: skip
    found: dict[str, Section] = {}
    for overrides in compositions:
        for name, section in sections_of(plain_config(*overrides)):
            if TARGET in section:
                found.setdefault(f"{name}{section[TARGET]}", (name, section))
    return found


@cache
def plain_config(*overrides: str) -> dict[str, Any]:
    needed = ["data.root=given"] if "data=folder" in overrides else []
    return as_dict(composed(*overrides, *needed))


def is_refused(name: str, section: dict[str, Any]) -> bool:
    """Whether a section is, and with the user's error; any other is this program's fault and ends the test."""
    try:
        check_section(name, section)
        check_numbers({"at": section})
    except UserError as error:
        assert str(error).startswith(name) or "at." in str(error)
        return True
    return False


def test_no_value_of_any_part_can_be_nonsense_without_a_word():
    accepted = []
    for name, section in all_sections().values():
        assert not is_refused(name, section), name
        for key in section:
            for value in NONSENSE:
                if not key.startswith("_") and not is_refused(name, section | {key: value}):
                    accepted.append((f"{name}{key}", section[TARGET], value))
    print(*accepted, sep="\n")
    wrong = [entry for entry in accepted if any(entry[2] is never for never in NEVER)]
    assert not wrong

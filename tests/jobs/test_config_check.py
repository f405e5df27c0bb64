"""The config's check: every part states its ranges, values out of them are refused, and every key has a type."""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from annotated_types import BaseMetadata, Ge, GroupedMetadata
from conftest import PROJECT, composed
from hydra.utils import get_object
from omegaconf import open_dict

from foundation.errors import ConfigError
from foundation.ranges import Seed
from jobs.config_check import check, check_value, types_of
from jobs.config_types import Evaluation, Exploration, Training

HANDED_OVER = {"image_shape", "num_classes", "num_outputs"}  # facts that exist only at run time


def yaml_files() -> list[Path]:
    return sorted((PROJECT / "conf").rglob("*.yaml"))


def targets(node: Any) -> Iterator[str]:
    """The constructors of this project that a yaml file names."""
    if isinstance(node, dict):
        target = str(node.get("_target_", ""))
        if (PROJECT / target.split(".")[0]).is_dir() and target:
            yield target
        for value in node.values():
            yield from targets(value)


def unlimited(expected: Any) -> bool:
    """Whether a type has a number in it, as itself, in a list or among alternatives, that has no range.

    A whole number's has an upper end: there are more of them than any machine can make use of.
    """
    if typing.get_origin(expected) is Annotated:
        inside, *metadata = typing.get_args(expected)
        limits = [one for one in metadata if isinstance(one, BaseMetadata | GroupedMetadata)]
        has_range = bool(limits) if inside is not int else any(has_upper_end(one) for one in limits)
        return not has_range and unlimited(inside)
    if typing.get_origin(expected) is typing.Literal:
        return False
    return expected in (int, float) or any(unlimited(one) for one in typing.get_args(expected))


def has_upper_end(limit: Any) -> bool:
    return any(getattr(limit, side, None) is not None for side in ("lt", "le"))


def without_range(target: str) -> list[str]:
    """The parameters of a constructor that have no range and should have one."""
    constructor = get_object(target)
    types = types_of(constructor)
    return [
        name for name in inspect.signature(constructor).parameters
        if name not in HANDED_OVER and (name not in types or unlimited(types[name]))
    ]  # fmt: skip


ALL_TARGETS = sorted({target for path in yaml_files() for target in targets(yaml.safe_load(path.read_text()))})


@pytest.mark.parametrize("target", ALL_TARGETS)
def test_every_number_of_a_part_has_a_range(target: str):
    assert without_range(target) == []


def test_part_without_ranges_would_be_noticed():
    assert unlimited(int) and unlimited(float | None) and unlimited(list[int]) and unlimited(tuple[str, float])
    assert unlimited(Seed | list[int]) and unlimited(Annotated[int, "a remark"]) and unlimited(Annotated[int, Ge(0)])
    assert not unlimited(Seed | None) and not unlimited(list[Annotated[float, Ge(0)]])
    assert not unlimited(Annotated[Seed, Ge(2)])
    assert not unlimited(bool) and not unlimited(str | None)
    assert "lightning_modules.networks.mlp.Encoder" in ALL_TARGETS


@pytest.mark.parametrize(
    ("config", "schema"), [("config", Training), ("evaluate", Evaluation), ("explore", Exploration)]
)
def test_every_value_at_the_top_of_a_config_has_a_type(config: str, schema: type):
    top = yaml.safe_load((PROJECT / "conf" / f"{config}.yaml").read_text())
    values = {key for key, value in top.items() if not isinstance(value, dict | list)}
    assert values == set(typing.get_type_hints(schema))


@pytest.mark.parametrize("overrides", [[], ["data=mnist", "scores=reference", "images=samples.npz"]])
def test_config_of_evaluate_passes(overrides: list[str]):
    check(composed(*overrides, config="evaluate"))


@pytest.mark.parametrize(
    ("value", "expected", "words"),
    [
        ("1", int, "a whole number, got '1'"),
        (True, int, "a whole number, got true"),
        (1.0, int, "a whole number, got 1.0"),
        (None, Annotated[int, Ge(1)], "a whole number, got null"),
        (0, Annotated[int, Ge(1)] | None, "at least 1 or null, got 0"),
        ("x", int | list[int], "a whole number or a list, got 'x'"),
        (True, float, "a number, got true"),
        (float("nan"), float, "a finite number, got nan"),
        (1, bool, "true or false, got 1"),
        (3, str | None, "a text or null, got 3"),
        ("relu", typing.Callable[[], Any], "a class or function: a section with a _target_, got 'relu'"),
        (3, Path, "a text, got 3"),
        ("x", ConfigError, "an object: a section with a _target_, got 'x'"),
        ([1, 2, 3], tuple[int, int], "a list of 2, got [1, 2, 3]"),
        ([1], tuple[int, int], "a longer list, got [1]"),
        ("warm", typing.Literal["on", "off"], "'on' or 'off', got 'warm'"),
    ],
)  # fmt: skip
def test_message_says_what_is_expected_and_what_was_given(value: Any, expected: Any, words: str):
    with pytest.raises(ConfigError) as error:
        check_value("a.key", value, expected)
    assert str(error.value) == f"a.key: expected {words}"


def test_item_of_a_list_is_named():
    with pytest.raises(ConfigError, match=r"^a\.key\[1\]: expected at least 1, got 0$"):
        check_value("a.key", [3, 0], Annotated[int, Ge(1)] | list[Annotated[int, Ge(1)]])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, float), (None, int | None), ([1, 2], tuple[int, ...]), ([0.5, 1], tuple[float, float]), ("here", Path)],
)
def test_what_yaml_has_no_other_word_for_is_accepted(value: Any, expected: Any):
    check_value("a.key", value, expected)


@pytest.mark.parametrize(
    "overrides",
    ["model.optimizer.lr=0", "model.optimizer.eps=0", "+trainer.num_nodes=0", "trainer.devices=0", "seed=4294967296",
     "every_n_epochs=0", "trainer.log_every_n_steps=0", "network.activation.negative_slope=-1",
     "model.optimizer._target_=torch.optim.adam.Adam model.optimizer.lr=-1"],
)  # fmt: skip
def test_value_out_of_range_is_refused(overrides: str):
    changed = [f"+{one}" if one.startswith("model.optimizer.eps") else one for one in overrides.split()]
    with pytest.raises(ConfigError, match=r"expected (at least|more than|at most)"):
        check(composed(*changed))


@pytest.mark.parametrize(
    "override",
    ["trainer.check_val_every_n_epoch=3", "~trainer.check_val_every_n_epoch", "+trainer.val_check_interval=0.5"],
)
def test_second_cadence_is_refused(override: str):
    with pytest.raises(ConfigError, match=r"Set every_n_epochs alone"):
        check(composed("every_n_epochs=10", override))


@pytest.mark.parametrize("config", ["config", "evaluate"])
def test_what_choices_share_is_no_choice(config: str):
    given = ["images=x"] if config == "evaluate" else []
    with pytest.raises(ConfigError, match=r"data=_shared: this is shared by the choices and is none of them: digits, "):
        check(composed("data=_shared", *given, config=config))


@pytest.mark.parametrize(
    ("override", "meant"),
    [("+seeed=3", "seed"), ("+foo_bar_baz=1", "--cfg job"), ("+evry_n_epochs=2", "every_n_epochs")],
)
def test_setting_that_nothing_reads_is_refused(override: str, meant: str):
    with pytest.raises(ConfigError, match=rf"there is no such setting; .*{meant}"):
        check(composed(override))


@pytest.mark.parametrize("override", ["run_dir=", "trainer.precision=64-true", "trainer.precision=bf16-true"])
def test_value_that_would_fail_after_the_start_is_refused(override: str):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        check(composed(override))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("recipe.trials=0", "recipe.trials: expected at least 1, got 0"),
        ("recipe.trials=null", "recipe.trials: expected a whole number, got null"),
        ("recipe.trials=3 recipe.search=7", "recipe.search: expected a text or null, got 7"),
        ("recipe.search=search/mnist", "recipe.trials: search/mnist has tried more than one setting"),
        ("+recipe.trial=3", "recipe.trial: there is no such setting. recipe has: trials, search"),
        ("recipe=null", "recipe: expected a mapping, got null"),
    ],
)  # fmt: skip
def test_recipe_that_says_no_number_of_trials_is_refused(overrides: str, said: str):
    with pytest.raises(ConfigError) as error:
        check(composed(*overrides.split()))
    assert str(error.value).startswith(said)


def test_recipe_that_a_search_has_found_is_accepted():
    check(composed("recipe.trials=30", "recipe.search=search/mnist"))


def test_misspelt_group_that_was_added_is_refused_with_the_nearest():
    cfg = composed("model=gan")
    with open_dict(cfg):
        cfg["model/los"] = "hinge"
    with pytest.raises(ConfigError, match=r"model/los: there is no such setting; did you mean model/loss"):
        check(cfg)

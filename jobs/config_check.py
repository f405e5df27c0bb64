"""What values a composed config may hold: those that its constructors' annotations, types and ranges, allow."""

import difflib
import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from foundation.errors import ConfigError
from run_folder.layout import CHECKPOINTS
from run_folder.settings import as_dict, flattened
from trackers.tracker import check_installed

from .config_types import (
    DataOfRun,
    Evaluation,
    Exploration,
    Export,
    Network,
    Preparation,
    Recipe,
    Sweep,
    Training,
    library_types,
)
from .object_check import callable_of, check_arguments, check_how, check_objects, check_trainer, known_choices
from .spelling import cfg_job, did_you_mean

CONF = Path(__file__).parents[1] / "conf"
# What the config has besides the values that have a type of their own; `report` is the paper experiments'.
SECTIONS = (
    "model", "network", "data", "trainer", "callbacks", "logger", "scores", "choices", "sweep", "recipe", "report",
    "experiment", "every_n_epochs",
)  # fmt: skip
HYDRAS_OWN = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
EXPECTED = {  # pydantic's kinds of errors, in the words of a message
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "literal_error": "{expected}",
    "missing": "a longer list",
    "string_too_short": "a text of at least {min_length} characters",
    "string_pattern_mismatch": "a text of letters, digits, - and _",
    "too_long": "a list of {max_length}",
    "too_short": "a list of at least {min_length}",
    "time_delta_type": "a duration",
    "needs_python_object": "an object: a section with a _target_",  # a class, of which yaml can't hold an instance
    "callable_type": "a class or function: a section with a _target_",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
}
LARGEST_FLOAT, LARGEST_INT = 3.4028234663852886e38, 2**63 - 1  # of float32 and int64
OF_THE_TYPE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for a value of the wrong type or out of range, before anything is built.

    A section with a `_target_` must fit that constructor's annotations.
    """
    plain = as_dict(cfg)
    check_frame(plain)
    check_choices(plain)
    schema = schema_of(plain)
    check_known(plain, schema)
    check_values("", plain, typing.get_type_hints(schema, include_extras=True))
    check_closed("recipe", plain.get("recipe", {}), Recipe)
    check_value("network", plain.get("network", {}), dict[str, Any])
    check_values("network.", plain.get("network", {}), typing.get_type_hints(Network, include_extras=True))
    if schema is Training:
        check_objects(plain)
        check_how(plain, known_choices())
        check_trainer(plain["trainer"], plain["model"])
        check_trackers(plain["logger"])
    if schema in (Evaluation, Exploration) and "_target_" not in plain["data"]:
        check_closed("data", plain["data"], DataOfRun)
    check_sections(plain)
    check_numbers(plain)
    check_budget(plain)
    check_cadence(plain)
    check_leaves_what_is_tested(plain)
    check_monitored(plain)
    check_recipe(plain)


def check_frame(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a config has what is asked of it before all else: where, what and again or anew."""
    if "choices" in plain:
        check_value("choices", plain["choices"], dict[str, str | list[str] | None])
        check_typed(plain["choices"])
    if "sweep" in plain:
        check_closed("sweep", plain["sweep"], Sweep)
    if "run_dir" in plain:
        check_value("run_dir", plain["run_dir"], Training.__annotations__["run_dir"])


def check_typed(choices: Mapping[str, str | list[str] | None]) -> None:
    """Raise ConfigError where a choice is called other than what was chosen: records and reports go by it."""
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    for group, name in choices.items():
        if group in chosen and chosen[group] != name:
            raise ConfigError(
                f"choices.{group}: it is what was chosen, {chosen[group]}, got {name}. Choose with {group}=…"
            )


def schema_of(plain: Mapping[str, Any]) -> type:
    """Which command's config this is."""
    if "samples" in plain:
        return Evaluation
    if "browser" in plain:
        return Exploration
    if "shard_mb" in plain:
        return Preparation
    return Training if "model" in plain else Export


def check_known(plain: Mapping[str, Any], schema: type) -> None:
    """Raise ConfigError for a key at the top that nothing reads, as `+` before a misspelt one adds it."""
    known = {*SECTIONS, *typing.get_type_hints(schema)}
    for key in plain:
        if key not in known:
            groups = {str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()}
            advice = did_you_mean(difflib.get_close_matches(key, {*known, *groups})) or cfg_job()
            raise ConfigError(f"{key}: there is no such setting; {advice.strip()}")


def check_closed(name: str, section: Any, schema: type) -> None:
    """Raise ConfigError unless a section without a `_target_` has these keys alone, and values of their types.

    Hydra refuses other keys on a command line, but not in an experiment's yaml.
    """
    if not isinstance(section, dict):
        raise ConfigError(f"{name}: expected a mapping, got {json.dumps(section)}")
    types = typing.get_type_hints(schema, include_extras=True)
    for key in section:
        if key not in types:
            raise ConfigError(f"{name}.{key}: there is no such setting. {name} has: {', '.join(types)}")
    check_values(f"{name}.", section, types)


def check_choices(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError for what a config group shares among its choices, and which is none of them."""
    for group, choice in plain.get("choices", {}).items():
        if str(choice).rpartition("/")[2].startswith("_"):
            known = sorted(path.stem for path in (CONF / group).glob("*.yaml") if not path.stem.startswith("_"))
            raise ConfigError(
                f"{group}={choice}: this is shared by the choices and is none of them: {', '.join(known)}"
            )


def sections(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping in the config, with its dotted name and a trailing dot."""
    if isinstance(node, dict):
        yield name, node
        for key, value in node.items():
            yield from sections(value, f"{name}{key}.")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from sections(value, f"{name}{index}.")


def check_sections(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError unless every section with a `_target_` fits its constructor."""
    for name, section in sections(plain):
        if "_target_" in section:
            check_section(name, section)


def check_section(name: str, section: dict[str, Any]) -> None:
    """Raise ConfigError unless a section's keys and values fit the constructor that is its `_target_`."""
    target, parameters = callable_of(section["_target_"], name)
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values())
    given = {key: value for key, value in section.items() if key not in HYDRAS_OWN}
    for key in given:
        if key not in parameters and not takes_any:
            known = ", ".join(known for known in parameters if known not in ("self", "args", "kwargs"))
            raise ConfigError(f"{name}{key}: {section['_target_']} has no such option. It has: {known}")
    check_values(name, given, types_of(target))
    check_arguments(name, section, parameters)


def types_of(target: Any) -> dict[str, Any]:
    """The annotations of a class's or function's parameters, with ranges."""
    try:
        types = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        types = {}
    return types | library_types(target)


def check_values(prefix: str, values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first value that is not of its type; objects are checked as sections of their own."""
    for key, value in values.items():
        if value == "" and prefix:
            raise ConfigError(f"{prefix}{key}: expected something, got ''")
        if key in types and not holds_object(value):
            check_value(f"{prefix}{key}", value, types[key])


def holds_object(value: Any) -> bool:
    return any("_target_" in section for _, section in sections(value))


def check_value(key: str, value: Any, expected: Any) -> None:
    """Raise ConfigError unless the value is of the expected type and in its range.

    Read as JSON, for which strict means what it should of yaml: true is no 1 and "1" neither, but a list is a tuple.
    """
    try:
        taken = TypeAdapter(expected, config=STRICT).validate_json(json.dumps(value))
        if isinstance(value, bool) and not isinstance(taken, bool):  # Literal[1] takes true for 1
            raise ConfigError(f"{key}: expected {taken}, got {json.dumps(value)}")
    except ValidationError as error:
        raise ConfigError(message(key, error.errors(include_url=False), expected)) from error


def message(key: str, errors: list[ErrorDetails], expected: Any) -> str:
    """What was expected and what was given, from the errors of all alternatives of a type."""
    deepest = max(len(place(error)) for error in errors)  # an item's error says more than "a list was not expected"
    errors = [error for error in errors if len(place(error)) == deepest]
    of_the_type = [error for error in errors if error["type"] in OF_THE_TYPE]
    errors = of_the_type or errors  # where the type is right, other alternatives' types are not what is wrong
    words = [EXPECTED.get(error["type"], error["msg"]).format(**limits(error)) for error in errors]
    if not place(errors[0]) and type(None) in typing.get_args(expected):
        words.append("null")
    return f"{key}{''.join(place(errors[0]))}: expected {' or '.join(dict.fromkeys(words))}, got {given(errors[0])}"


def place(error: ErrorDetails) -> list[str]:
    """Which item of a list, and of a list in that, an error is about; without the alternatives of a type."""
    indices = [index for index in error["loc"] if isinstance(index, int)]
    return [f"[{index}]" for index in (indices[:-1] if error["type"] == "missing" else indices)]


def limits(error: ErrorDetails) -> dict[str, Any]:
    """What an error's message names, with whole numbers written as such."""
    context: dict[str, Any] = error.get("ctx", {})
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in context.items()
    }


def given(error: ErrorDetails) -> str:
    """The value that was given, as yaml writes it, but for texts, whose quotes tell them from numbers."""
    value = error["input"]
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def check_numbers(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError for a number that is none in the arithmetic of training, whatever it is for.

    That is float32's, and int64's.
    """
    for name, section in sections(plain):
        for key, value in numbers_in(section):
            largest = LARGEST_INT if isinstance(value, int) else LARGEST_FLOAT
            if not abs(value) <= largest:  # nor is NaN
                raise ConfigError(f"{name}{key}: expected a number of at most {largest:.3g}, got {value}")


def numbers_in(section: Mapping[str, Any]) -> Iterator[tuple[str, int | float]]:
    """The numbers that lie in a section, in its lists too, by key; those of the sections in it are theirs."""
    for key, value in section.items():
        entries = enumerate(value) if isinstance(value, list) else [("", value)]
        for index, entry in entries:
            if isinstance(entry, int | float):
                yield f"{key}[{index}]" if isinstance(value, list) else key, entry


def check_budget(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where a number of parameters is asked for of a model that takes its networks as they are."""
    if plain.get("network", {}).get("parameters") is not None and "parameters" not in plain.get("model", {}):
        raise ConfigError(
            f"network.parameters: model={plain['choices']['model']} takes its networks as wide as they are. Set "
            "network.encoder.width, and leave network.parameters null"
        )


def check_cadence(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where val would be run at other epochs than it is scored at."""
    trainer = plain.get("trainer", {})
    if "_target_" not in trainer:  # evaluate.py's config has none, but what a data set's yaml says of one
        return
    if trainer.get("val_check_interval") not in (None, 1.0):
        raise ConfigError("trainer.val_check_interval: val is run after whole epochs. Set every_n_epochs alone")
    every, val = plain["every_n_epochs"], trainer.get("check_val_every_n_epoch", 1)
    if val != every:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch: val is run whenever it is scored, every_n_epochs={every}, got {val}. "
            "Set every_n_epochs alone"
        )


def check_monitored(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where what goes by a score of val is told of none, or of one that is called otherwise."""
    if "trainer" not in plain or "_target_" not in plain["trainer"]:
        return
    name = (plain["scores"] or {}).get("name")
    for callback in ("best_checkpoint", "early_stopping"):
        section = plain["callbacks"].get(callback)
        if section is None:
            continue
        setting, monitor = f"callbacks.{callback}.monitor", section.get("monitor")
        if monitor is None:
            raise ConfigError(
                f"{setting}: there is no score of val that it could go by; choose one with scores=, or turn "
                f"callbacks.{callback} off, by null"
            )
        if monitor.startswith(("val/fid_", "val/kid_")) and monitor[len("val/fid_") :] != name:
            raise ConfigError(f"{setting}: expected a score of scores.name={name}, as val/fid_{name}, got {monitor}")


def check_trackers(loggers: Mapping[str, Any]) -> None:
    """Raise ConfigError without metrics.csv, or where a tracker's library is not installed."""
    if loggers.get("csv") is None:
        raise ConfigError("logger.csv: metrics.csv can't be turned off, figures, reports and resuming read it")
    for name, section in loggers.items():
        if section is not None:
            check_installed(callable_of(section["_target_"], f"logger.{name}.")[0], f"logger={name}")


def check_recipe(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where a search is named that has tried a single setting: its number was forgotten."""
    recipe = plain.get("recipe", {})
    if recipe.get("search") is not None and recipe["trials"] == 1:
        raise ConfigError(
            f"recipe.trials: {recipe['search']} has tried more than one setting. Set recipe.trials to their number, or "
            "recipe.search=null"
        )


def check_leaves_what_is_tested(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where a run would not leave, in its folder, what its test needs when it has been trained."""
    trainer = plain.get("trainer", {})
    if "_target_" not in trainer:
        return
    if trainer.get("fast_dev_run"):
        raise ConfigError(
            "trainer.fast_dev_run: it keeps no checkpoint that could be tested. A short run is trainer.max_epochs=1 "
            "+trainer.limit_train_batches=1"
        )
    run_dir = plain["run_dir"]
    settled = {"trainer.default_root_dir": run_dir}
    for name in ("best", "last"):
        callback = f"callbacks.{name}_checkpoint"
        settled |= {f"{callback}.dirpath": f"{run_dir}/{CHECKPOINTS}", f"{callback}.filename": name}
        settled[callback] = "RunCheckpoint"  # and not one that keeps fewer
    given = flattened(plain)
    for setting, value in settled.items():
        if given.get(setting, value) not in (value, None):
            raise ConfigError(
                f"{setting}: a run is tested, resumed and evaluated by what lies in its own folder, so this is "
                f"{value}, got {given[setting]}. hydra.run.dir= chooses the folder"
            )
    if given.get("callbacks.last_checkpoint.monitor") is not None:
        raise ConfigError("callbacks.last_checkpoint.monitor: it keeps every epoch's weights, not some. Leave it away")

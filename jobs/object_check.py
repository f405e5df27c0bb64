"""Whether what a config has built can be: a class with all its arguments, in the way that conf/ has it built."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object

from foundation.errors import ConfigError
from run_folder.choices import HOW, HYDRAS, TARGET, Choices, choices_in, one_of, sections, shortened

REQUIRED = ("model", "data", "trainer")
OPTIONAL = ("callbacks", "logger")  # sections of objects, each of which can be null
# What constructors are given when they are called: facts about the data, and what a model tells its parts.
FACTS = frozenset(("image_shape", "num_classes", "class_names", "training_images"))
OF_MODELS = frozenset(
    ("num_outputs", "latent_dim", "latent_shape", "num_codes", "code_dim", "num_channels", "num_features", "params",
     "datamodule")
)  # fmt: skip
BY_OTHER_MEANS = {  # arguments of the trainer that building.build_trainer gives it
    "logger": "loggers are chosen by logger=, and turned off one by one, such as logger.tensorboard=null",
    "callbacks": "callbacks are chosen by callbacks=, and added as +callbacks.<name>._target_=…",
    "plugins": "checkpoints are written by a plugin of this project's own",
    "enable_progress_bar": "it is turned off by callbacks.progress_bar=null",
    "enable_checkpointing": "a run is tested from its checkpoints",
}


def check_objects(config: Mapping[str, Any]) -> None:
    """Raise ConfigError where something else stands in the place of an object that is built."""
    built = {name: config[name] for name in REQUIRED if name in config}
    optional = {"scores": config.get("scores")}
    for section in OPTIONAL:
        if section in config and not isinstance(config[section], Mapping):
            raise ConfigError(f"{section} is {shortened(config[section])}, expected a mapping of objects by name")
        optional |= {f"{section}.{name}": value for name, value in config.get(section, {}).items()}
    for name, value in (built | {name: value for name, value in optional.items() if value is not None}).items():
        if not isinstance(value, Mapping) or TARGET not in value:
            raise ConfigError(f"{name} is {shortened(value)}, expected a section with a {TARGET}")


def check_how(config: Mapping[str, Any], choices: Choices) -> None:
    """Raise ConfigError unless every section that conf/ has built is built, and by Hydra's keys as there.

    Any class may be named: those that conf/ does not know are built as what it has in their place.
    """
    for place, node in sections(config, ""):
        own = {str(key): value for key, value in node.items() if HYDRAS.fullmatch(str(key))}
        allowed = choices.at(place)
        if TARGET not in own and not (own or allowed):
            continue
        target = own.pop(TARGET, None)
        if not isinstance(target, str):
            raise ConfigError(f"{place}.{TARGET}: expected a class, such as {one_of(allowed)}, got {shortened(target)}")
        ways = [allowed[target]] if target in allowed else list(allowed.values())
        if set(own) - set(HOW) or (ways and own not in ways):
            expected = " or ".join(dict.fromkeys(map(described, ways)))
            raise ConfigError(f"{place}: it is built with {described(own)}, expected {expected or 'none of them'}")


def check_trainer(trainer: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Raise ConfigError for options of the trainer that something else decides, and that would be passed over."""
    for name, means in BY_OTHER_MEANS.items():
        if name in trainer:
            raise ConfigError(f"trainer.{name}: expected nothing, got {shortened(trainer[name])}: {means}")
    if trainer.get("gradient_clip_val") is not None and "clipping" in model:
        raise ConfigError(
            "trainer.gradient_clip_val: gradients are clipped by model/clipping=norm model.clipping.max_norm="
            f"{trainer['gradient_clip_val']}"
        )


def check_arguments(name: str, section: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> None:
    """Raise ConfigError unless a constructor is given all that it asks for, and nothing twice.

    `name`: the section's, with a dot behind it.
    """
    handed_over = handed_over_to(name, section)
    for key in section:
        if key in handed_over and key in parameters:
            raise ConfigError(f"{name}{key}: it is given by the data or the model when this is built; leave it away")
    for key, parameter in parameters.items():
        is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if is_named and parameter.default is parameter.empty and key not in {*section, *handed_over}:
            raise ConfigError(f"{name}{key}: it is missing, and {section[TARGET]} asks for it")


def handed_over_to(name: str, section: Mapping[str, Any]) -> frozenset[str]:
    """What a constructor is given besides its section: nothing where it is built at once, a model the data's facts."""
    if not section.get("_partial_", False):
        return frozenset()
    return FACTS if name == "model." else FACTS | OF_MODELS


def callable_of(target: str, name: str) -> tuple[Any, Mapping[str, inspect.Parameter]]:
    """A class or function by its full name, and its parameters. Raises ConfigError if there is none, or none to see."""
    try:
        found = get_object(target)
        return found, inspect.signature(found).parameters
    except (ImportError, ValueError, TypeError) as error:
        what = "there is no" if isinstance(error, ImportError) else "it can't be seen what can be asked of"
        raise ConfigError(f"{name}{TARGET}: {what} {target}") from error


def described(how: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={shortened(value)}" for key, value in how.items()) or "none of Hydra's keys"


def known_choices() -> Choices:
    """Those of conf/, and of the folders that the command line has Hydra search besides."""
    if not HydraConfig.initialized():
        return choices_in()
    sources = HydraConfig.get().runtime.config_sources
    return choices_in(*(Path(source.path) for source in sources if source.schema == "file"))

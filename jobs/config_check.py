"""What values a composed config may hold: the types are those of the constructors, the ranges stand here."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from foundation.errors import ConfigError

AT_LEAST = {  # whole words of the keys: the smallest value that means something
    "max_epochs": 1,
    "every_n_epochs": 1,
    "log_every_n_steps": 1,
    "check_val_every_n_epoch": 1,
    "seed": 0,
    "split_seed": 0,
    "batch_size": 1,
    "image_size": 1,
    "num_val": 1,
    "num_test": 1,
    "memory_share": 0,
    "latent_dim": 1,
    "num_features": 1,
    "width": 1,
    "depth": 0,
    "beta": 0,
    "n_critic": 1,
    "ema_half_life": 0,
    "ema_ramp_up": 0,
    "weight": 0,
    "weight_decay": 0,
    "num_fakes": 2,
    "num_train": 2,
    "num_images": 1,
    "num_samples": 1,
    "repeats": 1,
    "samples": 1,
    "rows": 1,
    "columns": 1,
    "steps": 2,
    "refresh_rate": 0,
    "degrees": 0,
    "translate": 0,
    "scale": 0,
    "label_smoothing": 0,
}
ABOVE = {"lr": 0, "share": 0, "smallest_area": 0}  # numbers that must be larger than this
AT_MOST = {"share": 1, "memory_share": 1, "smallest_area": 1, "label_smoothing": 1}
TOP_LEVEL = {  # what no constructor's annotation describes
    "seed": int,
    "every_n_epochs": int,
    "compile": bool,
    "tf32": bool,
    "ckpt_path": str | None,
    "run_dir": str,
    "run": str,
    "images": str | None,
    "name": str | None,
    "folder": str,
    "checkpoint": str | None,
    "accelerator": str,
    "samples": int,
    "out": str | None,
}


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for a value of the wrong type or out of range, before anything is built.

    A section with a `_target_` must fit that constructor's annotations.
    """
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    for key, hint in TOP_LEVEL.items():
        if key in plain:
            _check_type(key, plain[key], hint)
    if "sweep" in plain:
        _check_type("sweep.resume", plain["sweep"]["resume"], str | None)
    for name, section in _sections(plain):
        for key, value in section.items():
            _check_range(f"{name}{key}", key, value)
        if "_target_" in section:
            _check_section(name, section)


def _sections(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping in the config, with its dotted name and a trailing dot."""
    if isinstance(node, dict):
        yield name, node
        for key, value in node.items():
            yield from _sections(value, f"{name}{key}.")


def _check_section(name: str, section: dict[str, Any]) -> None:
    try:
        target = get_object(section["_target_"])
    except ImportError as error:
        raise ConfigError(f"{name}_target_: there is no {section['_target_']}") from error
    signature, hints = inspect.signature(target), _hints(target)
    takes_any = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    for key, value in section.items():
        if key in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            continue
        if key not in signature.parameters and not takes_any:
            known = ", ".join(k for k in signature.parameters if k not in ("self", "args", "kwargs"))
            raise ConfigError(f"{name}{key}: {section['_target_']} has no such option. It has: {known}")
        if isinstance(value, dict) and "_target_" in value:
            continue  # an object, checked as a section of its own
        _check_type(f"{name}{key}", value, hints.get(key, Any))


def _hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return {}


def _check_type(key: str, value: Any, hint: Any) -> None:
    if not _matches(value, hint):
        raise ConfigError(f"{key}: expected {_describe(hint)}, got {value!r}")


def _matches(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, option) for option in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (list, Sequence, typing.Sequence):
        return isinstance(value, list) and all(_matches(item, arguments[0]) for item in value)
    if origin is tuple:
        items = [item for item in arguments if item is not Ellipsis]
        return isinstance(value, list) and all(
            _matches(item, items[min(index, len(items) - 1)]) for index, item in enumerate(value)
        )
    if origin in (dict, typing.Mapping):
        return isinstance(value, dict)
    if hint is None or hint is types.NoneType:
        return value is None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    if origin is Callable or hint is Any:
        return True
    # Objects of other classes come from a `_target_`; a bare word or number in their place is a mistake.
    return not inspect.isclass(hint) or isinstance(value, hint)


def _describe(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        types.NoneType: "null",
    }
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(option) for option in arguments))
    if typing.get_origin(hint) in (list, tuple, Sequence):
        return f"a list of {_describe(arguments[0])}".replace("a list of a whole number", "a list of whole numbers")
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _check_range(name: str, key: str, value: Any) -> None:
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if key in AT_LEAST and number < AT_LEAST[key]:
            raise ConfigError(f"{name}: expected at least {AT_LEAST[key]}, got {number}")
        if key == "betas" and not (isinstance(number, float) and 0 <= number < 1):
            raise ConfigError(f"{name}: expected numbers from 0.0 to below 1.0, written with a point, got {number}")
        if key in ABOVE and number <= ABOVE[key]:
            raise ConfigError(f"{name}: expected more than {ABOVE[key]}, got {number}")
        if key in AT_MOST and number > AT_MOST[key]:
            raise ConfigError(f"{name}: expected at most {AT_MOST[key]}, got {number}")

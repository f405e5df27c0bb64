"""What a config key may hold, in words, from the annotation that the config is checked by."""

import inspect
import os
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
OBJECT = "a section with a `_target_`"


def described(annotation: Any) -> str:
    """A type, with its range, as a reader of a table wants it: `a whole number from 1 to 65,536`."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _limited(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(one) for one in arguments))
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}: {described(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, (list, tuple, Sequence)):
        return f"a list, each {described(arguments[0])}"
    if inspect.isclass(annotation) and issubclass(annotation, os.PathLike):
        return PLAIN[str]
    if annotation is dict or origin is dict:
        return "a mapping"
    return OBJECT


def _limited(annotated: Any, limits: tuple[Any, ...]) -> str:
    words = described(annotated)
    bounds: dict[str, Any] = {}
    for limit in limits:
        match limit:
            case Interval():
                bounds |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt")}
            case Ge() | Gt() | Le() | Lt():
                bounds |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
            case MinLen(min_length=1):
                words = words.replace("a text", "a non-empty text")
            case MinLen(min_length=least):
                words = f"{words} of at least {least}{' characters' if annotated is str else ''}"
            case MaxLen(max_length=most):
                words = f"{words} of at most {most}{' characters' if annotated is str else ''}"
            case StringConstraints(pattern=pattern):
                words = f"{words} of letters, digits, - and _" if pattern == r"^[\w-]+$" else f"{words}, `{pattern}`"
            case AfterValidator():
                words = _expected(limit.func, "no such value") or words
            case BeforeValidator():
                words = _expected(limit.func, 0) or words
    stated = _range({name: bound for name, bound in bounds.items() if bound is not None})
    return f"{words}{';' if stated and 'such as' in words else ''}{stated}"


def _expected(check: Any, wrong: Any) -> str | None:
    """What a check of this project says that it expects, of a value that it refuses."""
    try:
        check(wrong)
    except PydanticCustomError as error:
        return error.message()
    return None


def _range(bounds: dict[str, Any]) -> str:
    if "ge" in bounds and "le" in bounds:
        return f" from {number(bounds['ge'])} to {number(bounds['le'])}"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    written = [f"{signs[name]} {number(bound)}" for name, bound in bounds.items()]
    return f" {' and '.join(written)}" if written else ""


def number(value: float) -> str:
    return f"{value:,}" if abs(value) < 10**7 or value % 10 else f"{value:.0e}".replace("e+0", "e").replace("e+", "e")

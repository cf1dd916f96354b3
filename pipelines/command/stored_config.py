"""A config that a file holds, such as that of a run, with values of the kinds that flags would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pipelines.errors import UserError

Config = TypeVar("Config", bound=Any)


def restore_config(config_class: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """The config of JSON ``values``. Those of options that no longer exist are passed over.

    Raises UserError where the file ``source`` holds another kind of value.
    """
    kinds = get_type_hints(config_class)
    given = {}
    for name in {field.name for field in fields(config_class)} & values.keys():
        value = values[name]
        given[name] = tuple(value) if isinstance(value, list) else value
        if not _is_of(given[name], kinds[name]):
            raise UserError(f"{source} is damaged: {name} is {str(value)[:40]!r}")
    try:
        return config_class(**given)
    except TypeError:
        raise UserError(f"{source} is damaged: it lacks what an option must say") from None


def _is_of(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is not None:
        return any(_is_of(value, one) for one in get_args(kind))
    if type(value) is int and abs(value) >= 1 << 63:
        return False
    if kind is float:
        return type(value) is int or (type(value) is float and math.isfinite(value))
    return type(value) is kind

"""Arguments that a file gives: of the types that the class takes, and of a size that can be built."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping
from typing import Any

from pipelines.errors import UserError

_KINDS: dict[str, Any] = {"int": int, "float": int | float, "bool": bool, "str": str}
_NUMBERS = range(1, 1 << 31)
_POSSIBLE = {"num_layers": range(1, 1001), "seed": range(1 << 62)}


def check_arguments(cls: Any, arguments: Mapping[str, Any], source: str) -> None:
    """Raises UserError for a value that cannot be the argument of its name. ``source``: the file."""
    kinds = {
        parameter.name: str(parameter.annotation)
        for base in reversed(cls.__mro__)
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.annotation is not inspect.Parameter.empty
    }
    for name, value in arguments.items():
        kind = kinds.get(name, "Any")
        if not _fits(value, kind, _POSSIBLE.get(name, _NUMBERS)):
            raise UserError(
                f"{source}: {name} is {str(value)[:40]!r}, not a possible {kind}; damaged"
            )


def check_size(count: int, weights: list[str], source: str) -> None:
    """Raises UserError for a model of more weights than their files hold, before it is built."""
    if count > sum(map(os.path.getsize, weights)):
        raise UserError(
            f"{source}: describes a model of {count:,} weights, which {weights[0]} does not hold; the "
            "files belong to different presets"
        )


def _fits(value: Any, annotation: str, possible: range) -> bool:
    if value is None:
        return "None" in annotation or annotation == "Any"
    kind = _KINDS.get(annotation.removesuffix(" | None"))
    if kind is None:
        return True
    if kind is bool or isinstance(value, bool) or not isinstance(value, kind):
        return kind is bool and isinstance(value, bool)
    if kind is int:
        return value in possible
    return kind is str or math.isfinite(value)

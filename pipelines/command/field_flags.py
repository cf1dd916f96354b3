"""The flags of a config: one for each field, explained by the string below it.

``--help`` shows first what a user must choose, then the rest under the headings that the fields name.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pipelines.command.options import CHOOSE

_OTHERS = "more options"
_METAVARS = {int: "N", float: "NUMBER", str: "TEXT", bool: "true|false"}
_BOOLEANS = {"true": True, "false": False}


def add_fields(parser: argparse.ArgumentParser, config_class: type) -> None:
    """Adds the fields under their headings: what must be chosen first, in a group what is required."""
    kinds, texts = get_type_hints(config_class), field_texts(config_class)
    groups: dict[str, list[dataclasses.Field[Any]]] = {CHOOSE: []}
    for field in dataclasses.fields(config_class):
        groups.setdefault(field.metadata.get("group") or _OTHERS, []).append(field)
    for heading, fields in groups.items():
        group = parser.add_argument_group(heading)
        for field in sorted(fields, key=lambda field: field.default is not dataclasses.MISSING):
            words = field.metadata.get("words")
            settings = _word_settings(words) if words else _value_settings(kinds[field.name])
            if metavar := field.metadata.get("metavar"):
                settings["metavar"] = metavar
            required = field.default is dataclasses.MISSING
            group.add_argument(
                f"--{field.name}",
                required=required,
                default=None if required else field.default,
                help=texts.get(field.name, "").replace("%", "%%")
                + _default_text(_word_for(field.default, words or {})),
                **settings,
            )


def _value_settings(kind: Any) -> dict[str, Any]:
    """How argparse reads a ``tuple[str, ...]``, a ``Literal``, a number …, or one of them or None."""
    if get_origin(kind) is tuple:
        return {"nargs": "+", "metavar": _METAVARS[str]}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    plain = next(type_ for type_ in _METAVARS if type_ in (kind, *get_args(kind)))
    if plain is bool:
        return {"type": _boolean, "nargs": "?", "const": True, "metavar": _METAVARS[bool]}
    return {"type": plain, "metavar": _METAVARS[plain]}


def _word_settings(words: Mapping[str, Any]) -> dict[str, Any]:
    """How argparse reads a switch that has become a choice."""

    def value_of(text: str) -> Any:
        known = {**words, **_BOOLEANS}
        if text.lower() in known:
            return known[text.lower()]
        raise argparse.ArgumentTypeError(f"expected {', '.join(words)}, not {text!r}")

    metavar = f"{{{','.join(words)}}}"
    return {"type": value_of, "nargs": "?", "const": True, "metavar": metavar}


def _word_for(value: Any, words: Mapping[str, Any]) -> Any:
    return next((word for word, meaning in words.items() if meaning is value), value)


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}") from None


def _default_text(default: Any) -> str:
    """What ``--help`` adds about a default; a field's own text explains what None stands for."""
    if default is dataclasses.MISSING:
        return " (required)"
    if default in (None, "", ()):
        return ""
    shown = " ".join(default) if isinstance(default, tuple) else str(default)
    return f" (default: {shown.lower() if isinstance(default, bool) else shown})"


def field_texts(config_class: type) -> dict[str, str]:
    """The string below each field of the config and of its bases."""
    texts = {}
    for base in reversed(config_class.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, below in pairwise(definition.body):
            match statement, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = " ".join(text.split())
    return texts

"""What ``--help`` shows: first what a user must choose, then the rest under named headings.

Each config field says its heading and metavar itself (``pipelines.options``); the string below
the field explains it. A paragraph "Example: --flag value …" in the config's
docstring stands at the end, with the command before it.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NoReturn

from simple_parsing import ArgumentParser
from simple_parsing.help_formatter import SimpleHelpFormatter
from simple_parsing.helpers.custom_actions import BooleanOptionalAction
from simple_parsing.wrappers import DataclassWrapper

from pipelines.errors import UserError
from pipelines.options import CHOOSE

_OTHERS = "more options"
_EXAMPLE = "Example: "
_BOOLEAN = "{true,false}"
_METAVARS = {bool: _BOOLEAN, int: "N", float: "X", str: "TEXT"}


class Parser(ArgumentParser):
    """Errors in one line, without the usage text, and exit status 2."""

    # Adds the options that stand below those of the config.
    add_last: Callable[[], None] | None = None

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


class GroupedFields(DataclassWrapper):
    """The fields of a config as options under the headings that the fields name."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds them to the parser: what must be chosen first, what has no heading last."""
        headings = list(dict.fromkeys(_heading(wrapped.field) for wrapped in self.fields))
        required_first = sorted(self.fields, key=lambda wrapped: not _is_required(wrapped.field))
        for heading in sorted(headings, key=_rank):
            group = parser.add_argument_group(heading)
            for wrapped in required_first:
                if _heading(wrapped.field) == heading:
                    settings = wrapped.arg_options
                    if "choices" not in settings:
                        settings["metavar"] = _metavar(wrapped.field)
                    action = group.add_argument(*wrapped.option_strings, **settings)
                    action.help = help_of(self.dataclass, wrapped.field.name)
                    if _is_required(wrapped.field):
                        action.help += " (required)"
        if isinstance(parser, Parser) and parser.add_last:
            parser.add_last()


class HelpFormatter(SimpleHelpFormatter):
    """Says the default of each option that has one; what None stands for its text says."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, BooleanOptionalAction):
            return f"{action.option_strings[0]} {_BOOLEAN}"  # without --noNAME
        return super()._format_action_invocation(action)

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if action.required or default in (None, "", ()) or action.nargs == 0:
            return text
        if isinstance(default, bool):
            default = str(default).lower()
        elif isinstance(default, tuple):
            default = " ".join(default)
        return f"{text} (default: {default})"


def help_of(config_class: type, name: str) -> str:
    """The string below a field of the config or of its bases; empty if there is none.

    simple-parsing looks for it on the line after the field's first, which misses longer fields.
    """
    for base in config_class.__mro__[:-1]:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, below in pairwise(definition.body):
            if (
                isinstance(statement, ast.AnnAssign)
                and ast.unparse(statement.target) == name
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                return " ".join(str(below.value.value).split())
    return ""


def usage(config_class: type, module: str) -> str:
    """The command with what it cannot do without."""
    required = [
        f"--{field.name} {_metavar(field)}"
        for field in dataclasses.fields(config_class)
        if _is_required(field)
    ]
    return " ".join([f"python -m {module}", *required, "[options]"])


def description(config_class: type) -> str:
    """The config's docstring without its example."""
    return "\n\n".join(text for text in _paragraphs(config_class) if not _is_example(text))


def example(config_class: type, module: str) -> str | None:
    """The example in the config's docstring as a whole command; None if there is none."""
    for paragraph in filter(_is_example, _paragraphs(config_class)):
        flags = " ".join(paragraph.removeprefix(_EXAMPLE).split())
        return f"example:\n  python -m {module} {flags}"
    return None


def _paragraphs(config_class: type) -> list[str]:
    return inspect.cleandoc(config_class.__doc__ or "").split("\n\n")


def _is_example(paragraph: str) -> bool:
    return paragraph.startswith(_EXAMPLE)


def _heading(field: dataclasses.Field[Any]) -> str:
    return field.metadata.get("group") or _OTHERS


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING or bool(field.metadata.get("required"))


def _rank(heading: str) -> int:
    return {CHOOSE: 0, _OTHERS: 2}.get(heading, 1)


def _metavar(field: dataclasses.Field[Any]) -> str:
    """What stands for the value: as the field says, else by its type."""
    annotation = str(field.type)
    kinds = [kind for kind in _METAVARS if kind.__name__ in annotation]
    metavar = field.metadata.get("metavar") or _METAVARS[kinds[0] if kinds else str]
    return f"{metavar} [{metavar} ...]" if "tuple" in annotation else metavar

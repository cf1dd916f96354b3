"""From a command line to a config: every field of its dataclass is a flag of the same name.

A last paragraph "Example: --flag value …" of the docstring of a config stands at the end of ``--help``,
with the command before it.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pipelines.beam.lean_import import import_beam
from pipelines.command.config_file import section_as_flags
from pipelines.command.field_flags import add_fields
from pipelines.command.options import PATHS
from pipelines.errors import UserError, nearest

Config = TypeVar("Config", bound=Any)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a command runs; nothing here changes what it makes."""

    overwrite: bool = False
    dry_run: bool = False
    price: float | None = None
    beam_args: tuple[str, ...] = ()
    print_config: bool = False


class Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage text, and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def parse_command(
    config_class: type[Config],
    stage: str,
    module: str,
    arguments: Sequence[str],
    *,
    beam: bool = False,
    publishes: bool = True,
) -> tuple[Config, RunOptions]:
    """The config and the run options that the arguments, and the file of ``--config``, give.

    ``stage`` names the section of the file; ``module`` what follows ``python -m``. With ``beam``,
    Beam's own options are accepted too, as ``beam_args``. With ``publishes``, the command knows
    ``--overwrite`` and ``--dry_run``. Raises UserError for an unknown or invalid option, or a bad file.
    """
    text, _, example = inspect.cleandoc(config_class.__doc__ or "").partition("\n\nExample: ")
    epilog = ["Beam's own options (--runner, --project …) are accepted as well."] * beam
    if example:
        epilog.append(f"example:\n  python -m {module} {' '.join(example.split())}")
    parser = Parser(
        prog=f"python -m {module}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=text,
        epilog="\n\n".join(epilog),
        add_help=False,
    )
    add_fields(parser, config_class)
    parser.usage = _usage(module, parser._actions)
    general = parser.add_argument_group("any command")
    general.add_argument("-h", "--help", action="help", help="Show this text and stop.")
    _add_general_options(general, stage, beam=beam, publishes=publishes)
    finder = Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    _add_general_options(finder, stage, beam=beam, publishes=publishes)

    given = vars(finder.parse_known_args(arguments)[0])
    from_file = section_as_flags(config_class, given.pop("config"), stage, given.pop("section"))
    for argument in (*from_file, *arguments):
        if argument.startswith("--") and argument.endswith("=--"):
            # Of which argparse makes no value at all.
            raise UserError(f"{argument}: -- is no value")
    parsed, rest = parser.parse_known_args([*from_file, *arguments])
    names = [name for action in parser._actions for name in action.option_strings]
    _check_rest(rest, names, beam)
    options = RunOptions(**given, beam_args=tuple(rest))
    if options.price is not None and not options.dry_run:
        raise UserError("--price is for an estimate: add --dry_run")
    values = {}
    for field in dataclasses.fields(config_class):
        value = getattr(parsed, field.name)
        if field.metadata.get("metavar") in PATHS and isinstance(value, str):
            # To the system, a path without a name is the working folder.
            if value == "" != field.default:
                raise UserError(f"--{field.name}: is empty; give the name of a file or folder")
            value = os.path.expanduser(value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values), options


def config_again(
    config_class: type[Config], stage: str, deciding: Mapping[str, Any], source: str, **paths: Any
) -> Config:
    """The config that a manifest holds of a stage (``deciding_fields``), with other ``paths``.

    Raises UserError, which names ``source``, for what is no config of this version.
    """
    arguments = []
    for name, value in {**deciding, **paths}.items():
        if value is not None:
            many = isinstance(value, tuple | list)
            arguments += [f"--{name}", *value] if many else [f"--{name}={value}"]
    try:
        if unknown := deciding.keys() - {field.name for field in dataclasses.fields(config_class)}:
            raise UserError(f"unknown field {min(unknown)}")
        return parse_command(config_class, stage, f"pipelines.{stage}", arguments)[0]
    except UserError as error:
        raise UserError(f"{source}: its config is none of this version ({error})") from None


def _usage(module: str, actions: Sequence[argparse.Action]) -> str:
    """The command with what it cannot do without."""
    words = [f"python -m {module}"]
    for action in actions:
        if action.required:
            words += [action.option_strings[0], str(action.metavar)]
            words += [f"[{action.metavar} ...]"] * (action.nargs == "+")
    return " ".join([*words, "[options]"])


def _add_general_options(
    group: argparse._ActionsContainer, stage: str, *, beam: bool, publishes: bool
) -> None:
    """The flags that every command has, or every one that publishes or runs Beam."""
    group.add_argument(
        "--config", metavar="FILE", help=f"YAML file; its section '{stage}' is read. Flags win."
    )
    group.add_argument(
        "--section",
        metavar="NAME",
        default=stage,
        help=f"Another section of that file, '{stage}_…', for instance of another phase.",
    )
    group.add_argument(
        "--print_config", action="store_true", help="Show the resolved config and stop."
    )
    if publishes:
        group.add_argument(
            "--overwrite", action="store_true", help="Replace a different output in --output."
        )
        group.add_argument(
            "--dry_run",
            action="store_true",
            help="Show what would be read and made, and write nothing.",
        )
    if beam:
        group.add_argument(
            "--price",
            type=float,
            metavar="PER_HOUR",
            help="With --dry_run: what one worker (core) costs an hour, to estimate the cost.",
        )


def _check_rest(rest: list[str], names: list[str], beam: bool) -> None:
    """What no field is called must be an option of Beam; anything else is an error."""
    unknown = rest
    if beam and rest:
        import_beam(rest)
        from apache_beam.options import pipeline_options

        parser = pipeline_options._BeamArgumentParser(add_help=False, allow_abbrev=False)
        for options in pipeline_options.PipelineOptions.__subclasses__():
            options._add_argparse_args(parser)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                known, unknown = parser.parse_known_args(rest)
                if unknown and known.job_endpoint:
                    from pipelines.beam.options import add_server_options

                    add_server_options(parser, known.job_endpoint)
                    _, unknown = parser.parse_known_args(rest)
        except SystemExit:
            raise UserError(f"invalid Beam option among: {' '.join(rest)}") from None
        names = names + [name for action in parser._actions for name in action.option_strings]
    if unknown:
        option = unknown[0]
        if not option.startswith("-"):
            raise UserError(f"unexpected argument {option!r} (options begin with --)")
        name = option.split("=")[0]
        raise UserError(f"unknown option {name}{nearest(name, names)}")

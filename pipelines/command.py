"""The command line that all stages share.

A stage is a config dataclass and a function. Every field is a flag of the same name, documented by
the string below it; ``--config FILE.yaml`` supplies the section named after the stage, and flags
win. What a user can cause ends with one line on standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from simple_parsing import DashVariant

from pipelines.beam_import import import_beam
from pipelines.config_file import dump_config, section_as_flags, stage_of
from pipelines.errors import UserError, nearest
from pipelines.help_text import GroupedFields, HelpFormatter, Parser, description, example, usage

Config = TypeVar("Config", bound=Any)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What says how to run, but does not change what is made."""

    overwrite: bool = False
    dry_run: bool = False
    price: float | None = None
    beam_args: tuple[str, ...] = ()


def run_command(
    config_class: type[Config],
    main: Callable[[Config, RunOptions], Any],
    *,
    stage: str,
    module: str,
    beam: bool = False,
    publishes: bool = True,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the command line, runs ``main(config, options)`` and exits.

    ``stage`` names the section of the YAML file; ``module`` what follows ``python -m``. With
    ``beam``, Beam's own options are accepted too and handed over as ``options.beam_args``. With
    ``publishes``, the stage knows ``--overwrite``. Exit status: 0, 2 for a UserError, 130 for
    Ctrl-C.
    """
    _quiet_libraries()
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        config, options, print_config = parse_command(
            config_class, stage, module, arguments, beam=beam, publishes=publishes
        )
        if print_config:
            print(dump_config(config, stage), end="")
        else:
            if beam:
                # Seconds, and so not for --help or a misspelt flag.
                import_beam(options.beam_args)
            main(config, options)
    except UserError as error:
        print(f"{module}: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"{module}: the disk is full; free some space and run again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{module}: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


def parse_command(
    config_class: type[Config],
    stage: str,
    module: str,
    arguments: Sequence[str],
    *,
    beam: bool = False,
    publishes: bool = True,
) -> tuple[Config, RunOptions, bool]:
    """The config, the run options and whether ``--print_config`` was given.

    Raises UserError for an unknown or invalid option, or a bad configuration file.
    """
    parser = Parser(
        prog=f"python -m {module}",
        usage=usage(config_class, module),
        allow_abbrev=False,
        add_config_path_arg=False,
        add_option_string_dash_variants=DashVariant.UNDERSCORE,
        formatter_class=HelpFormatter,
        description=description(config_class),
        epilog=_epilog(example(config_class, module), beam),
        add_help=False,
    )
    parser.add_arguments(config_class, dest="config_fields", dataclass_wrapper_class=GroupedFields)
    parser.add_last = lambda: _add_general_options(parser, stage, beam=beam, publishes=publishes)
    from_file = _config_file_arguments(config_class, stage, arguments)
    try:
        parsed, rest = parser.parse_known_args([*from_file, *arguments])
    except argparse.ArgumentError as error:
        parser.error(str(error))
    names = [name for action in parser._actions for name in action.option_strings]
    beam_args = _check_rest(rest, names, beam)
    if getattr(parsed, "price", None) is not None and not parsed.dry_run:
        raise UserError("--price is for an estimate: add --dry_run")
    options = RunOptions(
        overwrite=getattr(parsed, "overwrite", False),
        dry_run=getattr(parsed, "dry_run", False),
        price=getattr(parsed, "price", None),
        beam_args=tuple(beam_args),
    )
    return parsed.config_fields, options, parsed.print_config


def _epilog(example: str | None, beam: bool) -> str:
    beam_options = (
        "Beam's own options (--runner, --project …) are accepted as well." if beam else ""
    )
    return "\n\n".join(filter(None, (beam_options, example)))


def _add_general_options(parser: Parser, stage: str, *, beam: bool, publishes: bool) -> None:
    """The flags that every command has, or every one that publishes or runs Beam."""
    general = parser.add_argument_group("any command")
    general.add_argument("-h", "--help", action="help", help="Show this text and stop.")
    general.add_argument(
        "--config", metavar="FILE", help=f"YAML file; its section '{stage}' is read. Flags win."
    )
    general.add_argument(
        "--section",
        metavar="NAME",
        help=f"Another section of that file, '{stage}_…', for instance of another phase.",
    )
    general.add_argument(
        "--print_config", action="store_true", help="Show the resolved config and stop."
    )
    if publishes:
        general.add_argument(
            "--overwrite", action="store_true", help="Replace a different output in --output."
        )
        general.add_argument(
            "--dry_run",
            action="store_true",
            help="Show what would be read and made, and write nothing.",
        )
    if beam:
        general.add_argument(
            "--price",
            type=float,
            metavar="PER_HOUR",
            help="With --dry_run: what one worker (core) costs an hour, to estimate the cost.",
        )


def say(stage: str, text: str) -> None:
    """Prints a line about a stage's progress to standard error."""
    print(f"{stage}: {text}", file=sys.stderr, flush=True)


def _check_rest(rest: Sequence[str], names: list[str], beam: bool) -> list[str]:
    """What simple-parsing did not know must be Beam's; anything else is an error."""
    if not rest:
        return []
    beam_names: list[str] = []
    unknown = list(rest)
    if beam:
        import_beam(rest)
        from apache_beam.options import pipeline_options

        parser = pipeline_options._BeamArgumentParser(add_help=False, allow_abbrev=False)
        for options in pipeline_options.PipelineOptions.__subclasses__():
            options._add_argparse_args(parser)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _, unknown = parser.parse_known_args(list(rest))
        except SystemExit:
            raise UserError(f"invalid Beam option among: {' '.join(rest)}") from None
        beam_names = [name for action in parser._actions for name in action.option_strings]
    if unknown:
        option = unknown[0]
        if not option.startswith("-"):
            raise UserError(f"unexpected argument {option!r} (options begin with --)")
        name = option.split("=")[0]
        raise UserError(f"unknown option {name}{nearest(name, names + beam_names)}")
    return list(rest)


def _config_file_arguments(config_class: type, stage: str, arguments: Sequence[str]) -> list[str]:
    """The stage's section of the ``--config`` file, written as flags to stand before the user's."""
    finder = Parser(add_help=False, allow_abbrev=False, add_config_path_arg=False)
    finder.add_argument("--config")
    finder.add_argument("--section", default=stage)
    given, _ = finder.parse_known_args(list(arguments))
    if stage_of(given.section) != stage and given.section != stage:
        raise UserError(f"--section {given.section}: this command reads {stage} or {stage}_…")
    if given.config is None:
        if given.section != stage:
            raise UserError(f"--section {given.section}: of which file? add --config FILE")
        return []
    return section_as_flags(config_class, given.config, given.section)


def _quiet_libraries() -> None:
    """The user reads our lines, not the start-up chatter of TensorFlow, XLA and gRPC."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    for ours in ("pipelines", "trainer"):
        logging.getLogger(ours).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)

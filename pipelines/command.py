"""The command line that all stages share.

A stage is a config dataclass and a function. Every field is a flag of the same name, documented by
the string below it; ``--config FILE.yaml`` supplies the section named after the stage, and flags
win. What a user can cause ends with one line on standard error and exit status 2.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import yaml
from simple_parsing import ArgumentParser, DashVariant

from pipelines.beam_import import import_beam
from pipelines.errors import UserError

Config = TypeVar("Config", bound=Any)

# The sections a configuration file may have, in the order of the road.
STAGES = (
    "vocab",
    "tokenize",
    "mask",
    "pretrain",
    "export",
    "finetune",
    "evaluate",
    "predict",
    "explain",
    "report",
    "docstrings",
    "demo_task",
    "inspect",
)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What says how to run, but does not change what is made."""

    overwrite: bool = False
    dry_run: bool = False
    price: float | None = None
    beam_args: tuple[str, ...] = ()


class _Parser(ArgumentParser):
    """Errors in one line, without the usage text, and exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


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
    # The first paragraph describes the command; simple-parsing repeats the rest itself.
    parser = _Parser(
        prog=f"python -m {module}",
        allow_abbrev=False,
        add_config_path_arg=False,
        add_option_string_dash_variants=DashVariant.UNDERSCORE,
        description=_first_paragraph(config_class),
        epilog="Beam's own options (--runner, --project …) are accepted as well." if beam else None,
    )
    parser.add_arguments(config_class, dest="config_fields")
    general = parser.add_argument_group("general")
    general.add_argument(
        "--config", metavar="FILE", help=f"YAML file; its section '{stage}' is read"
    )
    general.add_argument(
        "--section",
        metavar="NAME",
        help=f"another section of that file, '{stage}_…', for instance of another phase",
    )
    general.add_argument(
        "--print_config", action="store_true", help="show the resolved config and stop"
    )
    if publishes:
        general.add_argument(
            "--overwrite", action="store_true", help="replace a different output in --output"
        )
        general.add_argument(
            "--dry_run", action="store_true", help="show what would be read and made, write nothing"
        )
    if beam:
        general.add_argument(
            "--price",
            type=float,
            metavar="PER_HOUR",
            help="with --dry_run: what one worker (core) costs an hour; says how dear the run will be",
        )
    from_file = _config_file_arguments(config_class, stage, arguments)
    try:
        found, rest = parser.parse_known_args([*from_file, *arguments])
    except argparse.ArgumentError as error:
        parser.error(str(error))
    names = [name for action in parser._actions for name in action.option_strings]
    beam_args = _check_rest(rest, names, beam)
    if getattr(found, "price", None) is not None and not found.dry_run:
        raise UserError("--price is for an estimate: add --dry_run")
    options = RunOptions(
        overwrite=getattr(found, "overwrite", False),
        dry_run=getattr(found, "dry_run", False),
        price=getattr(found, "price", None),
        beam_args=tuple(beam_args),
    )
    return found.config_fields, options, found.print_config


def say(stage: str, text: str) -> None:
    """Tells people, on standard error, how a stage goes on."""
    print(f"{stage}: {text}", file=sys.stderr, flush=True)


def dump_config(config: Any, stage: str) -> str:
    """The config as a YAML section that ``--config`` reads."""
    fields = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
    }
    return yaml.safe_dump({stage: fields}, sort_keys=False, allow_unicode=True)


def _first_paragraph(config_class: type) -> str:
    return " ".join((config_class.__doc__ or "").split("\n\n")[0].split())


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


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean X?' for the valid name nearest to a wrong one, or the empty string."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _config_file_arguments(config_class: type, stage: str, arguments: Sequence[str]) -> list[str]:
    """The stage's section of the ``--config`` file, written as flags to stand before the user's."""
    finder = _Parser(add_help=False, allow_abbrev=False, add_config_path_arg=False)
    finder.add_argument("--config")
    finder.add_argument("--section", default=stage)
    found, _ = finder.parse_known_args(list(arguments))
    where = f"{found.config}: section {found.section}"
    if stage_of(found.section) != stage and found.section != stage:
        raise UserError(f"--section {found.section}: this command reads {stage} or {stage}_…")
    if found.config is None:
        if found.section != stage:
            raise UserError(f"--section {found.section}: of which file? add --config FILE")
        return []
    section = read_config_section(found.config, found.section)
    names = [field.name for field in dataclasses.fields(config_class)]
    flags: list[str] = []
    for name, value in section.items():
        if name not in names:
            raise UserError(f"{where}: unknown key {name!r}{nearest(name, names)}")
        flags += _as_flags(f"--{name}", _expand(value, f"{where}: {name}"))
    return flags


def read_config_section(path: str, name: str) -> dict[str, Any]:
    """One section of a YAML configuration file; empty if the file has none for this stage.

    ``name`` is a stage, or STAGE_ANYTHING for a section that must be there.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except OSError as error:
        raise UserError(f"--config: cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"--config: {path}{place}: not valid YAML") from None
    if not isinstance(content, dict):
        raise UserError(f"--config: {path}: expected sections named after stages, such as vocab:")
    for key, section in content.items():
        stage = stage_of(str(key))
        # A key that has lost its indentation, such as vocab_size, is no section.
        if stage is None or (key != stage and not isinstance(section, dict)):
            raise UserError(f"{path}: unknown section {key!r}{nearest(str(key), STAGES)}")
    if name not in content and name not in STAGES:
        raise UserError(f"{path}: no section {name!r}{nearest(name, list(content))}")
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise UserError(f"{path}: section {name}: expected 'key: value' lines")
    return section


def stage_of(section: str) -> str | None:
    """``pretrain`` for ``pretrain`` and ``pretrain_128``; None where no stage has such sections."""
    found = (s for s in STAGES if re.fullmatch(rf"{s}(_\w+)?", section, re.ASCII))
    return next(found, None)


def _expand(value: Any, where: str) -> Any:
    """Replaces ${NAME} in strings by environment variables, which must be set."""
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if isinstance(value, str):
        for name in re.findall(r"\$\{(\w+)\}", value):
            if name not in os.environ:
                raise UserError(f"{where}: environment variable {name} is not set; export it first")
        return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value)
    return value


def _as_flags(flag: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [flag, *map(_as_text, value)]
    if isinstance(value, dict):
        return [flag, *(f"{key}={_as_text(item)}" for key, item in value.items())]
    return [f"{flag}={_as_text(value)}"]


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


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

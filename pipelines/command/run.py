"""Running a command: its config from the command line, its function, and its exit status.

What a user can cause, and what the system refuses, ends with one line on standard error and exit status
2; a fault of ours with its traceback, a line that asks for a report, and exit status 1.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pipelines.beam.lean_import import import_beam
from pipelines.command.config_file import dump_config
from pipelines.command.known_errors import describe_error
from pipelines.command.parse import RunOptions, parse_command
from pipelines.errors import printable
from pipelines.storage.scratch_folder import scratch_folder

Config = TypeVar("Config", bound=Any)


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

    The arguments are those of ``parse_command``. Exit status: 0, 1, 2 or, for Ctrl-C, 130.
    """
    _quiet_libraries()
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        config, options = parse_command(
            config_class, stage, module, arguments, beam=beam, publishes=publishes
        )
        if options.print_config:
            print(dump_config(config, stage), end="")
            return
        elsewhere = False
        if beam:
            # Takes seconds, and is not needed for --help or a misspelt flag.
            import_beam(options.beam_args)
            from pipelines.beam.options import check_options, reach_workers, runs_here

            check_options(options.beam_args)
            config = reach_workers(config, options.beam_args)
            elsewhere = not runs_here(options.beam_args)
        # Beam stops the engines that it started when the process exits.
        with scratch_folder(until_exit=elsewhere):
            main(config, options)
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        _exit(130, module, "interrupted; run the same command again to go on")
    except Exception as error:
        if line := describe_error(error):
            _exit(2, module, line)
        traceback.print_exc()
        _exit(1, module, "this is a fault of bertmill; please report it with the lines above")


def say(stage: str, text: str) -> None:
    """Prints a line about a stage's progress to standard error."""
    print(printable(f"{stage}: {text}"), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Prints lines of what a command was asked for, which may quote any text, to standard output."""
    print(printable(text))


def _exit(status: int, module: str, line: str) -> None:
    say(module, line)
    sys.exit(status)


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

"""Running a Beam pipeline the way every stage does.

Chooses sensible local defaults (all cores, threads in this process), keeps the local runner from
losing data, shows a heartbeat, and turns an error raised in a worker, which Beam wraps in pages of
traceback, back into its one line. Importing this imports Beam: see ``pipelines.beam_import``.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from pipelines.command.known_errors import describe_error, describe_traceback, one_line
from pipelines.command.progress import fits_a_bar
from pipelines.errors import UserError
from pipelines.large_arrays import give_back_large_arrays
from pipelines.storage.remote import uses_emulator

_LOCAL_RUNNERS = (
    "DirectRunner",
    "BundleBasedDirectRunner",
    "SwitchingDirectRunner",
    "FnApiRunner",
)


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options as the user wrote them, with the local defaults filled in."""
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner is None:
        options.view_as(StandardOptions).runner = "DirectRunner"
    if options.view_as(StandardOptions).runner == "DirectRunner":
        direct = options.view_as(DirectOptions)
        if not any(argument.startswith("--direct_running_mode") for argument in beam_args):
            direct.direct_running_mode = "multi_threading"
        if not any(argument.startswith("--direct_num_workers") for argument in beam_args):
            direct.direct_num_workers = 0
    options.view_as(SetupOptions).save_main_session = False
    if uses_emulator():
        options.view_as(GoogleCloudOptions).no_auth = True
    return options


def check_options(beam_args: Sequence[str]) -> None:
    """Raises UserError for options that Beam cannot run with, such as an unknown runner."""
    options = pipeline_options(beam_args)
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise UserError(f"--direct_num_workers {workers}: must be at least 1, or 0 for all cores")
    try:
        beam.Pipeline(options=options)
    except Exception as error:
        raise UserError(
            f"Beam cannot run with {' '.join(beam_args)}: {one_line(error)[:300]}"
        ) from None


def runs_here(beam_args: Sequence[str]) -> bool:
    """True if all workers are on this machine and share its disk."""
    return str(pipeline_options(beam_args).view_as(StandardOptions).runner) in _LOCAL_RUNNERS


def count_workers(beam_args: Sequence[str]) -> int:
    """How many cores will work: as the options say, else all of this machine; remotely at least 1."""
    options = pipeline_options(beam_args)
    if runs_here(beam_args):
        return options.view_as(DirectOptions).direct_num_workers or os.cpu_count() or 1
    return options.view_as(WorkerOptions).num_workers or 1


def run_pipeline(
    build: Callable[[beam.Pipeline], Any], beam_args: Sequence[str], progress: Callable[[], str]
) -> None:
    """Builds and runs a pipeline and waits for its end.

    ``progress`` gives a short text for the heartbeat. Raises UserError where a worker raised one.
    """
    _guard_direct_runner()
    give_back_large_arrays()
    # Worker threads print pages on standard error for any exception in a DoFn.
    screen, held = sys.stderr, io.StringIO()
    try:
        with _heartbeat(progress), redirect_stderr(held):
            pipeline = beam.Pipeline(options=pipeline_options(beam_args))
            with _plain_labels():
                build(pipeline)
            pipeline.run().wait_until_finish()
    except UserError:
        held = io.StringIO()
        raise
    except Exception as error:
        if line := describe_traceback(str(error)) or describe_error(error):
            held = io.StringIO()
            raise UserError(line) from None
        raise
    finally:
        screen.write(held.getvalue())


def _guard_direct_runner() -> None:
    """Keeps Beam's local runner from losing data when it has more than one worker.

    In Beam (2.77 and before) a timer's thread takes what is in the buffer of a data stream and then
    empties it, without a lock against the thread that writes: what is written between the two is lost
    in silence (40 to 100 of 17,229 documents of Wikipedia on two workers). Without the timer the
    streams are flushed by size and at the end, which is all that a batch needs. A Beam without this
    setting is left alone; ``check_reading`` in ``documents/read_documents.py`` would notice.
    """
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    if hasattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS"):
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0


@contextmanager
def _plain_labels() -> Iterator[None]:
    """Keeps Beam from numbering a pipeline's steps by the cells of a notebook.

    For that it imports its interactive part, which needs packages that are not ours and fails with
    pandas 3 (Beam 2.77). A Beam that does it elsewhere is left alone.
    """
    from apache_beam import pipeline

    name = "alter_label_if_ipython"
    before = getattr(pipeline, name, None)
    if before is None:
        yield
        return
    setattr(pipeline, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(pipeline, name, before)


@dataclass
class Finish(beam.PTransform):
    """Calls ``finish(list of all elements)`` once, when all have arrived: the end of every stage."""

    finish: Callable[[list[Any]], None]

    def expand(self, elements: beam.PCollection[Any]) -> beam.PCollection[Any]:
        return (
            elements
            | "One key" >> beam.Map(lambda element: (0, element)).with_output_types(tuple[int, Any])
            | "Gather" >> beam.GroupByKey()
            | "Finish" >> beam.Map(lambda keyed: self.finish(list(keyed[1])))
        )


@contextmanager
def _heartbeat(progress: Callable[[], str]) -> Iterator[None]:
    """Every few seconds a line on standard error (rewritten in place on a terminal)."""
    done, screen, started = threading.Event(), sys.stderr, time.monotonic()
    terminal = fits_a_bar(screen)

    def beat() -> None:
        while not done.wait(1 if terminal else 15):
            line = f"{progress()}, {time.monotonic() - started:.0f} s"
            screen.write(f"\r\033[K{line}" if terminal else f"{line}\n")
            screen.flush()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if terminal:
            screen.write("\r\033[K")

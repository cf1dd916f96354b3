"""Running a Beam pipeline the way every stage does.

Keeps the local runner from losing data, shows a heartbeat, and turns an error raised in a worker,
which Beam and the engines wrap in pages of traceback, back into its one line. Importing this imports
Beam: see ``pipelines.beam.lean_import``.
"""

from __future__ import annotations

import ctypes
import io
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipelines.beam.heartbeat import Progress, heartbeat
from pipelines.beam.options import pipeline_options, runs_here
from pipelines.command.known_errors import describe_error, describe_traceback
from pipelines.errors import UserError

# How Beam says that an engine gave a job up.
_ENDED = re.compile(r"failed in state (?P<state>[A-Z]+)(?:: (?P<reason>.*))?", re.DOTALL)
_MISSING = re.compile(r"ModuleNotFoundError: No module named 'pipelines\b")
_M_MMAP_THRESHOLD = -3  # in malloc.h
_LARGE_BYTES = 1 << 20


def run_pipeline(
    build: Callable[[beam.Pipeline], Any], beam_args: Sequence[str], progress: Progress
) -> None:
    """Builds and runs a pipeline and waits for its end.

    ``progress`` says how far it has come, from what ``tally`` counted. Raises UserError where a worker
    raised one, and where an engine gave the job up.
    """
    _guard_direct_runner()
    _give_back_large_arrays()
    screen, held = sys.stderr, io.StringIO()
    try:
        with heartbeat(progress) as watch, _hold_back(held):
            pipeline = beam.Pipeline(options=pipeline_options(beam_args))
            with _plain_labels():
                build(pipeline)
            result = pipeline.run()
            watch(result)
            result.wait_until_finish()
    except UserError:
        held = io.StringIO()
        raise
    except Exception as error:
        # An engine may tell of another error last, such as a worker that it ended for this one.
        said = f"{error}\n{held.getvalue()}"
        end = _describe_end(str(error), said)
        if line := describe_traceback(said) or describe_error(error) or end:
            held = io.StringIO()
            if not runs_here(beam_args):
                sys.stderr = _OfThisThread(screen)
            raise UserError(line) from None
        raise
    finally:
        screen.write(held.getvalue())


class _OfThisThread:
    """Standard error without what other threads write: workers in this process tell of their end."""

    def __init__(self, screen: Any) -> None:
        self._screen, self._thread = screen, threading.get_ident()

    def write(self, text: str) -> int:
        return self._screen.write(text) if threading.get_ident() == self._thread else len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


def _describe_end(error: str, said: str) -> str | None:
    """The line for a job that an engine gave up, None where code of ours failed."""
    if _MISSING.search(said):
        return (
            "the workers have another version of bertmill, or none; install this one in their "
            "environment or image"
        )
    ended = _ENDED.search(error)
    if not ended or "Traceback (most recent call last)" in said:
        return None
    reason = " ".join((ended["reason"] or "no reason given").split())[:300]
    return (
        f"the job ended in state {ended['state']} and published no manifest: {reason}; see the logs "
        "of the engine and run again"
    )


@contextmanager
def _hold_back(held: io.StringIO) -> Iterator[None]:
    """Keeps standard error, and what is logged to it, in ``held``: workers and engines print pages
    there for any exception in a DoFn."""
    handlers = [h for h in logging.root.handlers if type(h) is logging.StreamHandler]
    streams = [handler.stream for handler in handlers]
    try:
        for handler in handlers:
            handler.stream = held
        with redirect_stderr(held):
            yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.stream = stream


def _give_back_large_arrays() -> None:
    """From now on the system has the memory of large arrays back as soon as they are freed.

    glibc does so at first, but each such array that is freed raises the size from which on it does, up
    to 32 MB; what is smaller shares its memory with small objects, which keep it from being given back.
    Figures: docs/benchmarks.md, tokenizing. Does nothing where the C library is another.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


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

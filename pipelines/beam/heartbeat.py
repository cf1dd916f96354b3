"""Progress of a pipeline on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.beam.tally import read_tally, start_tally
from pipelines.command.progress import Phase, describe_progress, fits_a_bar

_SECONDS_BETWEEN_LINES = 15.0


Progress = Callable[[Counter[str]], Phase]


def reading(stage: str, counted: Counter[str], expected_bytes: float) -> Phase:
    """The phase in which documents are read, by what has been read of the text."""
    note = f"{counted['documents']:,} documents" if counted["documents"] else ""
    done, total = counted["text_bytes"] / 1e6, expected_bytes / 1e6
    return Phase(f"{stage}: reading", done, total, "MB", note)


@contextmanager
def heartbeat(progress: Progress) -> Iterator[Callable[[Any], None]]:
    """Shows the progress every few seconds, on a terminal in place. Gives a function that takes the
    running pipeline, whose counts are shown from then on if none are made in this process."""
    ended, screen = threading.Event(), sys.stderr
    terminal = fits_a_bar(screen)
    running: list[Any] = []
    start_tally()

    def beat() -> None:
        began = before = time.monotonic()
        what, done = "", 0.0
        while not ended.wait(1 if terminal else _SECONDS_BETWEEN_LINES):
            phase = progress(read_tally(*running))
            now = time.monotonic()
            # A rate is of the time in which there was something to count.
            if phase.what != what or (phase.done and not done):
                began = before
            what, done, before = phase.what, phase.done, now
            columns = shutil.get_terminal_size().columns if terminal else 0
            line = describe_progress(phase, now - began, columns)
            screen.write(f"\r\033[K{line}" if terminal else f"{line}\n")
            screen.flush()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield running.append
    finally:
        ended.set()
        thread.join()
        if terminal:
            screen.write("\r\033[K")

"""What is shown of a long loop, on terminals of some width and of none, and in a log."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.command import progress
from pipelines.command.progress import Phase, describe_progress, fits_a_bar, track


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, int]]:
    """(what reads, what writes) of a terminal of this width."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_without_a_width_gets_lines(columns, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1e-9)
    with terminal(columns) as (reader, writer), os.fdopen(os.dup(writer), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert fits_a_bar(stream) == (columns > 0)
        assert list(track(range(3), "finetune: epoch 1", "steps")) == [0, 1, 2]
        stream.flush()
        shown = os.read(reader, 10_000).decode()
    if columns:
        assert "%|" in shown
        assert max(map(len, shown.split("\r"))) <= columns
    else:
        assert "finetune: epoch 1: 1 of 3 steps, 00:00 left\r\n" in shown
        assert "%|" not in shown


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch) -> None:
    bar = track(range(3), "predicting", "batches")
    assert not bar.dynamic_miniters, "tqdm's monitor leaves it alone"
    list(bar)
    assert capsys.readouterr().err == "", "a short loop says nothing"
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1e-9)
    list(track(range(3), "predicting", "batches"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("predicting: ")
    assert all("\r" not in line for line in lines)


@pytest.mark.parametrize(
    ("done", "total", "columns", "expected"),
    [
        (30, 120, 0, "x: 30 of about 120 MB, 3.0 MB/s, 00:30 left, 7 documents"),
        (30, 0, 0, "x: 30 MB, 3.0 MB/s, 7 documents"),
        (150, 120, 0, "x: 150 of about 120 MB, 15.0 MB/s, 00:00 left, 7 documents"),
        (0, 120, 0, "x: 10 s, 7 documents"),
        (0, 0, 80, "x: 10 s, 7 documents"),
    ],
)
def test_progress_as_a_line(done, total, columns, expected):
    assert describe_progress(Phase("x", done, total, "MB", "7 documents"), 10, columns) == expected


def test_progress_as_a_bar():
    bar = describe_progress(Phase("tokenize: reading", 30, 120, "MB", "7 documents"), 10, 90)
    assert len(bar) < 90
    assert bar.startswith("tokenize: reading:  25%|")
    assert "| 30/120 MB [00:10<00:30,  3.00 MB/s], 7 documents" in bar
    assert "100%" in describe_progress(Phase("x", 150, 120, "MB"), 10, 60)

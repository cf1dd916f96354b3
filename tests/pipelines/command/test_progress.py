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
from pipelines.command.progress import fits_a_bar, track


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
    list(track(range(3), "predicting", "batches"))
    assert capsys.readouterr().err == "", "a short loop says nothing"
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 1e-9)
    list(track(range(3), "predicting", "batches"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("predicting: ")
    assert all("\r" not in line for line in lines)

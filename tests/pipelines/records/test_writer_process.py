"""Shards written by a child process: the same bytes, its errors here, no child left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipelines.records import writer_process
from pipelines.records.codec import schema_of
from pipelines.records.ragged import Columns, Ragged
from pipelines.records.shards import write_records
from pipelines.records.writer_process import write_records_apart


def _parts(count: int) -> list[Columns]:
    rng = np.random.default_rng(count)
    parts: list[Columns] = []
    for rows in rng.integers(1, 300, count).tolist():
        offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 90, rows))])
        tokens = rng.integers(0, 30_000, offsets[-1]).astype(np.uint16)
        parts.append(
            {"row_id": rng.integers(0, 1 << 60, rows), "token_ids": Ragged(tokens, offsets)}
        )
    return parts


def _child() -> subprocess.Popen[bytes]:
    return writer_process._threads.child


@pytest.mark.parametrize("format", ["array_record", "tfrecord"])
def test_the_same_file_as_here(tmp_path: Path, format: str) -> None:
    for count in (1, 5):
        parts = _parts(count)
        schema = schema_of(parts[0])
        here = write_records(str(tmp_path / "here"), parts, schema, format)
        apart = write_records_apart(str(tmp_path / "apart"), iter(parts), schema, format)
        assert apart == dataclasses.replace(here, name="apart")
        assert (tmp_path / "apart").read_bytes() == (tmp_path / "here").read_bytes()


def test_threads_have_children_of_their_own_that_end_with_them(tmp_path: Path) -> None:
    parts = _parts(3)
    schema = schema_of(parts[0])
    children = []

    def write(name: str) -> None:
        write_records_apart(str(tmp_path / name), parts, schema, "array_record")
        children.append(_child())

    threads = [threading.Thread(target=write, args=[str(i)]) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({child.pid for child in children}) == 3
    assert len({(tmp_path / str(i)).read_bytes() for i in range(3)}) == 1


def test_an_error_there_is_raised_here_and_the_next_file_is_fine(tmp_path: Path) -> None:
    parts = _parts(4)
    schema = schema_of(parts[0])
    with pytest.raises(FileNotFoundError):
        write_records_apart(str(tmp_path / "no" / "folder"), parts, schema, "tfrecord")
    apart = write_records_apart(str(tmp_path / "good"), parts, schema, "tfrecord")
    assert apart.records == sum(len(part["row_id"]) for part in parts)


def test_an_error_here_ends_the_child_that_waits_for_more(tmp_path: Path) -> None:
    parts = _parts(2)
    schema = schema_of(parts[0])
    write_records_apart(str(tmp_path / "first"), parts, schema, "array_record")
    before = _child()

    def broken():
        yield parts[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_records_apart(str(tmp_path / "half"), broken(), schema, "array_record")
    assert before.poll() is not None
    write_records_apart(str(tmp_path / "next"), parts, schema, "array_record")
    assert (tmp_path / "next").read_bytes() == (tmp_path / "first").read_bytes()


def test_a_killed_child_is_an_error_and_is_replaced(tmp_path: Path) -> None:
    parts = _parts(2)
    schema = schema_of(parts[0])
    write_records_apart(str(tmp_path / "first"), parts, schema, "array_record")

    def killing():
        yield parts[0]
        _child().kill()
        _child().wait()
        yield parts[1]

    with pytest.raises(RuntimeError, match="half ended with status -9"):
        write_records_apart(str(tmp_path / "half"), killing(), schema, "array_record")
    write_records_apart(str(tmp_path / "next"), parts, schema, "array_record")
    assert (tmp_path / "next").read_bytes() == (tmp_path / "first").read_bytes()


def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; sys.path.insert(0, 'tests/pipelines/records')\n"
        "from test_writer_process import _child, _parts, schema_of, write_records_apart\n"
        "parts = _parts(2)\n"
        f"write_records_apart({str(tmp_path / 'file')!r}, parts, schema_of(parts[0]), 'tfrecord')\n"
        "print(_child().pid, flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    for _ in range(200):
        status = Path(f"/proc/{child}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the child is still there")

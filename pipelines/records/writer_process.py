"""Record files written by another process: ``write_records`` of shards.py, the same bytes.

ArrayRecord's writer holds Python's lock while it compresses, so threads that write shards wait for
each other. Each thread keeps a child process instead, which gets tables through a pipe and writes
them while the thread makes the next. A child ends with its parent, however that ends: it reads
end-of-file.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, cast

from pipelines.child_process import leave_interrupts_to_parent, start_child
from pipelines.records.codec import Schema
from pipelines.records.ragged import Columns
from pipelines.records.shards import ShardInfo, write_records

_threads = threading.local()


def write_records_apart(
    path: str, parts: Iterable[Columns], schema: Schema, format: str
) -> ShardInfo:
    """Writes a record file in this thread's child process. Raises what the child would raise."""
    child = getattr(_threads, "child", None)
    if child is None or child.poll() is not None:
        child = _threads.child = start_child("pipelines.records.writer_process")
    requests, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
    whole = False
    try:
        for message in chain([(path, schema, format)], parts, [None]):
            pickle.dump(message, requests, protocol=5)
            requests.flush()
        outcome = pickle.load(answers)
        whole = True
    except (EOFError, BrokenPipeError):
        status = child.wait()
        raise RuntimeError(f"the process that writes {path} ended with status {status}") from None
    finally:
        if not whole:  # it waits for the rest of an abandoned file
            child.kill()
            child.wait()
            _threads.child = None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _serve() -> None:
    """Writes the files asked for on standard input. Raises EOFError when the parent is gone."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        path, schema, format = pickle.load(requests)
        unread = iter(lambda: pickle.load(requests), None)
        outcome: ShardInfo | Exception
        try:
            outcome = write_records(path, unread, schema, format)
        except EOFError:
            # The command was killed: what nobody will finish would stay for ever.
            Path(path).unlink(missing_ok=True)
            raise
        except Exception as error:
            outcome = error
            for _ in unread:
                pass
        pickle.dump(outcome, answers)
        answers.flush()


if __name__ == "__main__":
    leave_interrupts_to_parent()
    with suppress(EOFError):
        _serve()

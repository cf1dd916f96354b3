"""What is one line for the user, and what is a fault of ours."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from pipelines.command.known_errors import describe_error, describe_traceback
from pipelines.errors import UserError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("two\nlines"), "two lines"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: the disk is full"),
        (RuntimeError("close: No space left on device; Writing to x"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "a file would become larger"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b"),
            "a/b: Permission denied; check",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a/b"), "a/b: File name too long"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "the working folder is no"),
        (OSError("Unable to synchronously\nopen file"), "Unable to synchronously open file"),
        (MemoryError(), "there is not enough memory"),
        (np.exceptions.AxisError("no"), None),
        (KeyError("x"), None),
        (ValueError("x"), None),
    ],
)
def test_the_line_of_an_error(error, line):
    described = describe_error(error)
    if line is None:
        assert described is None
    else:
        assert described.startswith(line)
        assert "\n" not in described


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pipelines.errors.UserError: a; b [while running 'Read']\n", "a; b"),
        ("pipelines.records.shards.DamagedShardError: shard x\\n more", "shard x"),
        (
            "OSError: [Errno 28] No space left on device [while running 'x']",
            "the disk is full; free ",
        ),
        (
            "OSError: [Errno 27] File too large: '/a b' [while running 'x']",
            "/a b: a file would become larger",
        ),
        ("RuntimeError: close: No space left on device", "the disk is full; free "),
        (
            "PermissionError: [Errno 13] Permission denied: '/a' [while running 'x']\n",
            "/a: Permission denied; check the path",
        ),
        ("MemoryError [while running 'x']", "there is not enough memory"),
        (
            "aiohttp.client_exceptions.ServerDisconnectedError: Server gone [while running 'x']",
            "Server gone; check the network",
        ),
        ("KeyError: 'x' [while running 'y']\n", None),
    ],
)
def test_the_line_of_a_workers_traceback(text, line):
    import pipelines.records.shards  # noqa: F401 - its error is one of those looked for

    described = describe_traceback(f"Traceback …\n  File x\n{text}")
    assert described is None if line is None else described.startswith(line)

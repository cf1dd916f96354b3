"""Runs ``python -m MODULE`` in this process, for tests that need none of the command's own."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import warnings


def run_command_here(module: str, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it said on standard error."""
    if "keras" in sys.modules:
        # As in a process of its own, layers are numbered from the first.
        sys.modules["keras"].utils.clear_session(free_memory=False)
    # This process is not started anew for the sake of huge pages.
    os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    said, status, before = io.StringIO(), 0, sys.argv
    sys.argv = [module, *arguments]
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(said),
        ):
            # Another command may have imported this one's module: it runs as a second one.
            warnings.simplefilter("ignore")
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return status, said.getvalue()

"""A folder for everything that a command keeps for a while, which no kill leaves behind for ever.

What we, Beam and other libraries ask ``tempfile`` for lies in it. The process holds a lock on it, and
deletes first the folders of commands that were killed.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.storage.replace_folder import is_held

_NAME = re.compile(r"bertmill-(\d{1,9})-\w+")


@contextmanager
def scratch_folder(*, until_exit: bool = False) -> Iterator[None]:
    """Makes the folder the one for temporary files, for this process and its children, until the end
    of the block. It is deleted then or, for what libraries do at exit, when the process exits."""
    import fcntl

    before, parent = (tempfile.tempdir, os.environ.get("TMPDIR")), tempfile.gettempdir()
    with suppress(OSError):
        for name in filter(_NAME.fullmatch, os.listdir(parent)):
            _delete_if_abandoned(parent, name)
    folder = tempfile.mkdtemp(prefix=f"bertmill-{os.getpid()}-", dir=parent)
    held = os.open(folder, os.O_RDONLY)

    def delete() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)

    if until_exit:
        # First, so that it runs last.
        atexit.register(delete)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(held, fcntl.LOCK_EX)
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        yield
    finally:
        tempfile.tempdir, environment = before
        if environment is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = environment
        if not until_exit:
            delete()


def _delete_if_abandoned(parent: str, name: str) -> None:
    """Deletes the folder if its process is no more; one that runs in another container, where numbers
    of processes are others, holds its lock."""
    folder, number = os.path.join(parent, name), int(name.split("-")[1])
    if os.path.islink(folder) or os.stat(folder).st_uid != os.geteuid() or is_held(folder):
        return
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        shutil.rmtree(folder, ignore_errors=True)

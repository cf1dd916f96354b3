"""Claims a folder for one process, so that two runs never write to the same output at once."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import IO

from pipelines.errors import UserError
from pipelines.files import is_remote

_held: dict[str, IO[bytes]] = {}


def lock_folder(folder: str) -> None:
    """Claims a local folder for writing until this process ends, however it ends.

    Raises UserError if another process holds it. Object stores have no locks: there, the last of
    two runs to finish wins, shard by shard checked against its manifest.
    """
    if is_remote(folder) or folder in _held:
        return
    import fcntl

    path = Path(os.path.abspath(folder), ".lock")
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"--output: another process is writing to {folder}; wait for it or choose another folder"
        ) from None
    _held[folder] = file
    atexit.register(path.unlink, missing_ok=True)

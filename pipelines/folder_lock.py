"""Claims a folder for one process, so that two runs never write to the same output at once."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import IO

from pipelines.errors import UserError
from pipelines.files import is_remote

_held_locks: dict[str, IO[bytes]] = {}


def lock_folder(folder: str) -> None:
    """Claims a local folder for writing until this process ends, however it ends.

    Raises UserError if another process holds it. Object stores have no locks: there, the last of
    two runs to finish wins, shard by shard checked against its manifest.
    """
    if is_remote(folder) or folder in _held_locks:
        return
    import fcntl

    file = open(os.path.join(folder, ".lock"), "wb")  # noqa: SIM115 - held until the end
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(
            f"--output: another process is writing to {folder}; wait for it or choose another folder"
        ) from None
    _held_locks[folder] = file


@atexit.register
def _release_folders() -> None:
    for folder, file in _held_locks.items():
        Path(folder, ".lock").unlink(missing_ok=True)
        file.close()

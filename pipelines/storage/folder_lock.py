"""Claims a folder for one process, so that two runs never write to the same output at once."""

from __future__ import annotations

import atexit
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path

from pipelines.errors import UserError
from pipelines.storage.files import is_remote

_held: dict[str, int] = {}
_SIGNED = re.compile(r"process \d{1,10} on [\w.-]{1,255}")


def lock_folder(folder: str) -> None:
    """Claims a local folder for writing until this process ends, however it ends.

    Raises UserError if another process holds it. Object stores have no locks: there, the last of
    two runs to finish wins, shard by shard checked against its manifest.
    """
    if is_remote(folder):
        return
    import fcntl

    path = _path_of(folder)
    while path not in _held:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it deletes it at its end: then this is a lock of a file that nobody else sees.
            if _is_at(path, descriptor):
                _held[path] = descriptor
                atexit.register(_unlock, path)
                _sign(descriptor)
        except BlockingIOError:
            holder = _holder(descriptor)
            raise UserError(
                f"--output: another process is writing to {folder}{holder and f' ({holder})'}; wait "
                "for it, end it or choose another folder"
            ) from None
        finally:
            if _held.get(path) != descriptor:
                os.close(descriptor)


def _path_of(folder: str) -> str:
    return os.path.join(os.path.realpath(folder), ".lock")


def _sign(descriptor: int) -> None:
    """Writes into the lock who holds it; a file of somebody else, which is no lock, stays as it is."""
    with suppress(OSError):  # the disk may be full
        if not os.fstat(descriptor).st_size or _holder(descriptor):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds the lock, if it says so."""
    match = _SIGNED.fullmatch(os.pread(descriptor, 300, 0).decode(errors="replace"))
    return match[0] if match else ""


def _unlock(path: str) -> None:
    """Gives the lock back: its file goes first, so that nobody waits for one that is gone."""
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        if _is_at(path, descriptor):
            Path(path).unlink()
        os.close(descriptor)


def _leave_to_parent() -> None:
    """In a forked process, which would hold the locks beyond the end of the one that took them."""
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_leave_to_parent)


def _open(path: str) -> int:
    # Neither following a link, nor emptying what is there, nor waiting for a pipe's other end.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise UserError(
            f"--output: {path} cannot be locked ({error.strerror}); remove it or choose another folder"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(
            f"--output: {path} is not a regular file; remove it or choose another folder"
        )
    return descriptor


def _is_at(path: str, descriptor: int) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False

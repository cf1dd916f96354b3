"""A folder that appears, or takes the place of an older one, whole or not at all.

It is filled under a temporary name beside its place. No file system that Python knows swaps two folders
at once: the old one is moved away first, and ``recover_folder`` moves it back if the process was killed
before the new one had its name.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.errors import UserError
from pipelines.storage.files import TEMPORARY, make_folder
from pipelines.storage.name_errors import naming

_OLD = ".replaced-"


@contextmanager
def publish_folder(folder: str) -> Iterator[str]:
    """Gives a new local folder to fill; at the end of the block it becomes, or replaces, ``folder``.

    If the block raises, ``folder`` stays as it was.
    """
    import fcntl

    if not folder:
        raise UserError("a folder to write has no name")  # which stands for the working folder
    folder = os.path.realpath(folder)
    parent, name = os.path.split(folder)
    make_folder(parent)
    mark = uuid.uuid4().hex
    temporary, old = (os.path.join(parent, f"{p}{mark}-{name}") for p in (TEMPORARY, _OLD))
    with naming(folder, temporary):
        os.mkdir(temporary)
    held = os.open(temporary, os.O_RDONLY)
    try:
        # So that others know it from what a killed process left; some file systems have no locks.
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        with naming(folder, temporary):
            yield temporary
        if os.path.isdir(folder):
            os.rename(folder, old)
        os.rename(temporary, folder)
    finally:
        if os.path.isdir(old) and not os.path.lexists(folder):
            os.rename(old, folder)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)
        os.close(held)


def recover_folder(folder: str) -> None:
    """Puts ``folder`` back where a killed ``publish_folder`` had moved it away, and deletes its copies.

    What a process that still runs is writing is left alone.
    """
    folder = os.path.realpath(folder)
    parent, name = os.path.split(folder)
    pattern = re.compile(
        rf"(?:{re.escape(TEMPORARY)}|{re.escape(_OLD)})([0-9a-f]{{32}})-(.*)", re.S
    )
    matches = map(pattern.fullmatch, os.listdir(parent) if os.path.isdir(parent) else ())
    for mark in sorted({match[1] for match in matches if match and match[2] == name}):
        temporary, old = (os.path.join(parent, f"{p}{mark}-{name}") for p in (TEMPORARY, _OLD))
        if is_held(temporary):
            continue
        if os.path.isdir(old) and not os.path.lexists(folder):
            os.rename(old, folder)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def is_held(temporary: str) -> bool:
    """True while the process that fills the folder lives."""
    import fcntl

    try:
        held = os.open(temporary, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(held)
    return False

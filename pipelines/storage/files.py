"""Files, local or at ``scheme://`` (``gs://`` …), behind one handful of verbs.

Local paths use the standard library alone; others go through ``pipelines.storage.remote``. What is
published appears whole or not at all: it is written under a unique temporary name beside its final place
and renamed.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipelines.errors import UserError
from pipelines.storage import remote
from pipelines.storage.name_errors import naming
from pipelines.storage.remote import FileInfo, has_wildcards

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
TEMPORARY = ".incomplete-"
# Of a file's name, what its temporary name keeps: no name has more than 255 bytes.
_KEPT_CHARACTERS = 50


def is_remote(path: str) -> bool:
    """True for ``scheme://`` paths."""
    return bool(_SCHEME.match(path))


def join(folder: str, *names: str) -> str:
    """A path below ``folder``."""
    return (
        "/".join([folder.rstrip("/") or "/", *names])
        if is_remote(folder)
        else os.path.join(folder, *names)
    )


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading bytes as they are stored (nothing is decompressed).

    Raises UserError for a pipe or a device, which may never end, and OSError.
    """
    if is_remote(path):
        return remote.open_read(path)
    # Opening a pipe would wait for its other end. Each read gives up Python's lock and waits for it
    # again, so there are few of them.
    file = open(  # noqa: SIM115 - the caller closes it
        path, "rb", 1 << 20, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    )
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path}: is a pipe or a device; give a file")
    return file


def place_of(file: IO[bytes]) -> str:
    """A path of an open local file itself, whatever has its name by now, where the system knows one."""
    place = f"/proc/self/fd/{file.fileno()}"
    return place if os.path.exists(place) else str(file.name)


def download(path: str, local: str) -> None:
    """Copies a file to a local one (not atomically)."""
    if is_remote(path):
        remote.download(path, local)
    else:
        # Read, not shutil.copyfile: a pipe may stand for a slow store.
        with open(path, "rb") as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, 8 << 20)


@contextmanager
def local_file(path: str) -> Iterator[str]:
    """A local path with the same content and the same ending of its name, for as long as the block
    lasts: itself, or a copy of a remote file. Raises as ``open_read``."""
    if not is_remote(path):
        open_read(path).close()
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, path.rsplit("/", 1)[-1])
        download(path, local)
        yield local


def read_bytes(path: str, limit: int | None = None) -> bytes:
    """The whole file. Raises as ``open_read``, and UserError if it has more than ``limit`` bytes."""
    with open_read(path) as file:
        content = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(content) > limit:
        raise UserError(f"{path}: has more than {limit:,} bytes; is it the right file?")
    return content


def exists(path: str) -> bool:
    """True if there is a file (or a local folder) at ``path``."""
    return remote.exists(path) if is_remote(path) else os.path.exists(path)


def make_folder(path: str) -> None:
    """Makes a local folder with its parents; object stores need none."""
    if not is_remote(path):
        try:
            os.makedirs(path, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            problem = "a file of this name is in the way"
        except PermissionError:
            problem = "no permission to create it"
        except OSError as error:
            problem = f"cannot be made ({error.strerror})"
        else:
            return
        raise UserError(f"output folder {path}: {problem}; choose another folder")


def delete(paths: Iterable[str]) -> None:
    """Deletes files; missing ones are no error."""
    for path in paths:
        if is_remote(path):
            remote.delete(path)
        else:
            Path(path).unlink(missing_ok=True)


@contextmanager
def publish(path: str) -> Iterator[str]:
    """Gives a local temporary path to write to; at the end of the block it becomes ``path``.

    If the block raises, nothing appears at ``path`` and the temporary file is removed. Two writers
    of the same path never see each other's temporary file; the last to finish wins.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            temporary = os.path.join(folder, path.rsplit("/", 1)[-1])
            with naming(temporary):
                yield temporary
            # An object appears only when its upload is complete, under its final name at once.
            remote.upload(temporary, path)
        return
    beside, name = os.path.split(path)
    kept = name[-_KEPT_CHARACTERS:]
    temporary = os.path.join(beside, f"{TEMPORARY}{uuid.uuid4().hex}-{kept}")
    try:
        with naming(path, temporary):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # the disk may be gone
            os.unlink(temporary)


def publish_bytes(path: str, data: bytes) -> None:
    """Writes a whole file atomically."""
    with publish(path) as temporary:
        Path(temporary).write_bytes(data)


def delete_temporaries(folder: str) -> None:
    """Removes what interrupted writers left in a local folder; in object stores they leave nothing."""
    if not is_remote(folder):
        for path in Path(folder).glob(f"{TEMPORARY}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(folder: str) -> Iterator[str]:
    """Makes a unique local folder: inside ``folder`` if that is local, where there is room for it.

    It is removed at the end of the block, or by ``delete_temporaries`` if the process was killed.
    """
    prefix, parent = ("bertmill-", None) if is_remote(folder) else (TEMPORARY, folder)
    made = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def names_in(folder: str) -> list[str]:
    """The names of the files directly in a folder; [] if there is none."""
    if is_remote(folder):
        return remote.names_in(folder)
    return (
        [path.name for path in Path(folder).iterdir() if path.is_file()] if exists(folder) else []
    )


def match(patterns: Iterable[str], what: str = "input") -> list[FileInfo]:
    """All files that the paths, folders or glob patterns name, each once, sorted by path.

    A folder, named or matched, stands for all files in it. Hidden files and those of interrupted
    writers are passed over unless named outright. Of several paths of one file, through links or
    ``/./``, the shortest stands for it. Raises UserError for a pattern that matches nothing, and for a
    link that leads nowhere.
    """
    matched: dict[str, FileInfo] = {}
    for pattern in patterns:
        infos = remote.match(pattern) if is_remote(pattern) else _match_local(pattern)
        if not infos:
            kind = "no file matches" if has_wildcards(pattern) else "no such file:"
            raise UserError(
                f"--{what}: {kind} {pattern!r}; check the path (working folder: {os.getcwd()})"
            )
        for info in infos:
            place = info.path if is_remote(info.path) else os.path.realpath(info.path)
            known = matched.get(place, info)
            matched[place] = min(known, info, key=lambda one: (len(one.path), one.path))
    if not matched:
        raise UserError(f"--{what}: name at least one file, folder or pattern")
    return sorted(matched.values())


def _match_local(pattern: str) -> list[FileInfo]:
    pattern = os.path.expanduser(pattern)
    folder, name = os.path.split(pattern)
    if os.path.exists(pattern):
        matched = [pattern]
    elif os.path.isdir(folder):  # its name may hold brackets
        matched = glob.glob(os.path.join(glob.escape(folder), name), recursive=True)
    else:
        matched = glob.glob(pattern, recursive=True)
    infos = []
    for path in matched:
        for found in _walk(path) if os.path.isdir(path) else [path]:
            if not os.path.exists(found):
                raise UserError(f"{found}: a link that leads nowhere; mend it or remove it")
            status = os.stat(found)
            infos.append(FileInfo(found, status.st_size, status.st_mtime))
    return infos


def _walk(folder: str) -> Iterator[str]:
    """The visible files below a folder, through links too, but no folder twice: links may go round."""
    seen = set()
    for below, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(below)
        again = place in seen
        seen.add(place)
        folders[:] = [] if again else sorted(n for n in folders if not n.startswith("."))
        if not again:
            yield from (os.path.join(below, n) for n in names if not n.startswith("."))

"""Files that are not local, through fsspec: gs:// by gcsfs, s3:// by s3fs, and so on.

Requests are retried with growing pauses by the store's own library: gcsfs tries six times, half a minute
in all where the store refuses, two and a half where it says nothing. Listings are never cached: other
processes write too. An object appears when its upload is complete, whole. What a store or its library
says becomes one line, also while an open file is read.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from pipelines.errors import UserError, one_line
from pipelines.storage.store_errors import CHECK_NAMES, CHECK_NET, describe_refusal, named

_BLOCK, _BUFFER = 8 << 20, 1 << 20
_GOOGLE = "https://storage.googleapis.com"
_CONNECT_SECONDS = 10
# Of silence in the middle of a request; how long a request takes is up to the size of the file.
_SILENT_SECONDS = 20


@dataclass(frozen=True, order=True)
class FileInfo:
    """A file: its path, size in bytes and time of last change (seconds; 0 = unknown)."""

    path: str
    size: int
    modified: float


def has_wildcards(pattern: str) -> bool:
    """True for a glob pattern, False for the path of one file or folder."""
    return any(character in pattern for character in "*?[")


def uses_emulator() -> bool:
    """True if gs:// stands for a storage emulator, which knows no credentials."""
    return bool(os.environ.get("STORAGE_EMULATOR_HOST"))


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading. Raises FileNotFoundError at once if there is none, and UserError then
    and while it is read."""
    with _store(path) as filesystem:
        return io.BufferedReader(
            _Reader(path, filesystem.open(path, "rb", block_size=_BLOCK)), _BUFFER
        )


def download(path: str, local: str) -> None:
    """Copies a file to a local one. Raises FileNotFoundError if there is none."""
    with _store(path) as filesystem:
        filesystem.get_file(path, local)


def upload(local: str, path: str) -> None:
    """Copies a local file to a remote one, which appears when all of it is there."""
    with _store(path) as filesystem:
        try:
            filesystem.put_file(local, path)
        except Exception as error:
            if not isinstance(error, FileNotFoundError) and describe_refusal(path, error):
                raise
            # A store may lose what it knows of an upload, half way or at its end: it begins anew.
            try:
                filesystem.put_file(local, path)
            except FileNotFoundError:
                raise UserError(f"{path}: not found; {CHECK_NAMES}") from None


def exists(path: str) -> bool:
    """True if there is a file (not merely a folder) of this name."""
    try:
        with _store(path) as filesystem:
            return filesystem.info(path)["type"] == "file"
    except FileNotFoundError:
        return False


def delete(path: str) -> None:
    """Deletes a file; a missing one is no error."""
    with suppress(FileNotFoundError), _store(path) as filesystem:
        filesystem.rm_file(path)


def names_in(folder: str) -> list[str]:
    """The names of the files directly in a folder; [] if there is none."""
    try:
        with _store(folder) as filesystem:
            entries = filesystem.ls(folder, detail=True)
    except FileNotFoundError:
        return []
    names = [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]
    return [name for name in names if name]


def match(pattern: str) -> list[FileInfo]:
    """All files that a path, folder or glob pattern names, hidden ones only if named outright."""
    try:
        with _store(pattern) as filesystem:
            if has_wildcards(pattern):
                entries = filesystem.glob(pattern, detail=True)
            else:
                entry = filesystem.info(pattern)
                if entry["type"] == "file":
                    return [_file_info(pattern, entry)]
                entries = filesystem.find(pattern, detail=True)
    except FileNotFoundError:
        return []
    scheme = pattern.split("://")[0]
    return [
        _file_info(f"{scheme}://{name.lstrip('/')}", entry)
        for name, entry in entries.items()
        if entry["type"] == "file" and _is_visible(name)
    ]


def _is_visible(path: str) -> bool:
    """False for hidden files and the empty objects that some tools make for folders."""
    name = path.rsplit("/", 1)[-1]
    return bool(name) and not name.startswith(".")


def _file_info(path: str, entry: Mapping[str, Any]) -> FileInfo:
    changed = next((entry[key] for key in ("mtime", "LastModified") if entry.get(key)), 0.0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return FileInfo(path, int(entry["size"]), seconds)


class _Reader(io.RawIOBase):
    """An open file of a store's library, whose errors are named."""

    def __init__(self, path: str, file: Any) -> None:
        self._path, self._file = path, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with named(self._path):
            return int(self._file.readinto(buffer))

    def readall(self) -> bytes:
        with named(self._path):
            return bytes(self._file.read())

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _store(path: str) -> Iterator[Any]:
    """The path's filesystem. What it raises in the block is named."""
    with named(path):
        # A filesystem for each process: its event loop's thread does not survive a fork.
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        yield _connect(path.split("://")[0], os.getpid(), emulator)


def _check_answers(store: str) -> None:
    """Raises UserError where nobody answers, which gcsfs would go on trying for minutes. Whatever
    the answer is, it is one."""
    url = urlsplit(store)
    if url.scheme in getproxies():
        return
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    try:
        connection = kind(url.hostname or "", url.port, timeout=_CONNECT_SECONDS)
        with closing(connection):
            connection.request("HEAD", "/")
            connection.getresponse()
    except (OSError, ValueError, HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{store} cannot be reached ({reason}); {CHECK_NET}") from None


@lru_cache(maxsize=8)
def _connect(scheme: str, process: int, emulator: str) -> Any:
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "gs":
        # gcsfs would print a traceback for what we say in one line.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
        _check_answers(emulator or _GOOGLE)
        options["requests_timeout"] = _silence()
        if emulator:
            # Its probe for storage layouts asks the real service, and waits for a minute.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            options |= {"token": "anon", "endpoint_url": emulator}
    try:
        import fsspec

        filesystem = fsspec.filesystem(scheme, **options)
        if scheme == "gs":
            _try_once(filesystem)
        return filesystem
    except Exception as error:  # each store's library has its own
        hint = "no such scheme" if isinstance(error, ValueError) else one_line(error)[:150]
        raise UserError(
            f"nothing installed can read {scheme}:// ({hint}); for gs:// pip install 'bertmill[gcp]'"
        ) from None


def _silence() -> Any:
    """The limit on silence, as gcsfs passes it on. After one on the whole request it would give up."""
    try:
        import aiohttp
    except ModuleNotFoundError:  # then gcsfs is missing too, and a line says so
        return None
    return aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
    )


def _try_once(filesystem: Any) -> None:
    """Takes gcsfs's retries off a download as a whole: its requests have their own, and with both a
    store that is down is asked 36 times."""
    kind = type(filesystem)
    once = getattr(getattr(kind, "_get_file_concurrent", None), "__wrapped__", None)
    if once is not None:
        kind._get_file_concurrent = once

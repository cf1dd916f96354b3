"""Files that are not local, through fsspec: gs:// by gcsfs, s3:// by s3fs, and so on.

Requests are retried with growing pauses by the store's own library. Listings are never cached: other
processes write too. An object appears when its upload is complete, whole. What a store says of a wrong
bucket, scheme or permission becomes one line.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import IO, Any

from pipelines.errors import UserError

_BLOCK = 8 << 20
_UNREACHABLE = "cannot be reached"
# The stores' libraries share no class of errors, but all speak HTTP.
_HTTP_REASONS = (
    (r"\b401\b|Unauthorized", "no credentials"),
    (r"\b403\b|Forbidden", "no permission"),
    (r"\b404\b|NotFound", "not found"),
    (
        r"CredentialsError|RefreshError|NoCredentials|credentials cannot be refreshed",
        "no credentials",
    ),
    (r"ClientConnector|ConnectionError|Cannot connect|Timeout", _UNREACHABLE),
)


def uses_emulator() -> bool:
    """True if gs:// stands for a storage emulator, which knows no credentials."""
    return bool(os.environ.get("STORAGE_EMULATOR_HOST"))


def open_read(path: str) -> IO[bytes]:
    """Opens a file for reading. Raises FileNotFoundError at once if there is none."""
    with _errors(path):
        return _filesystem(path).open(path, "rb", block_size=_BLOCK)


def download(path: str, local: str) -> None:
    """Copies a file to a local one. Raises FileNotFoundError if there is none."""
    with _errors(path):
        _filesystem(path).get_file(path, local)


def upload(local: str, path: str) -> None:
    """Copies a local file to a remote one, which appears when all of it is there."""
    with _errors(path):
        try:
            _filesystem(path).put_file(local, path)
        except FileNotFoundError:
            raise UserError(
                f"{path}: not found; check the bucket's name and your credentials"
            ) from None


def exists(path: str) -> bool:
    """True if there is a file (not merely a folder) of this name."""
    with _errors(path):
        return file_info(path) is not None


def delete(path: str) -> None:
    """Deletes a file; a missing one is no error."""
    with _errors(path):
        try:
            _filesystem(path).rm_file(path)
        except FileNotFoundError:
            return


def names_in(folder: str) -> list[str]:
    """The names of the files directly in a folder; [] if there is none."""
    with _errors(folder):
        try:
            entries = _filesystem(folder).ls(folder, detail=True)
        except FileNotFoundError:
            return []
    names = [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]
    return [name for name in names if name]


def file_info(path: str) -> tuple[int, float] | None:
    """Size in bytes and time of last change (seconds; 0: unknown) of a file; None if there is none."""
    with _errors(path):
        try:
            entry = _filesystem(path).info(path)
        except FileNotFoundError:
            return None
        return _size_and_time(entry) if entry["type"] == "file" else None


def files_below(folder: str) -> dict[str, tuple[int, float]]:
    """All files in a folder and the folders in it: ``file_info`` by path."""
    with _errors(folder):
        return _listing(folder, _filesystem(folder).find)


def files_like(pattern: str) -> dict[str, tuple[int, float]]:
    """All files that a glob pattern names: ``file_info`` by path."""
    with _errors(pattern):
        return _listing(pattern, _filesystem(pattern).glob)


def _listing(asked: str, look: Callable[..., Mapping[str, Any]]) -> dict[str, tuple[int, float]]:
    scheme = asked.split("://")[0]
    try:
        entries = look(asked, detail=True)
    except FileNotFoundError:
        return {}
    return {
        f"{scheme}://{name.lstrip('/')}": _size_and_time(entry)
        for name, entry in entries.items()
        if entry["type"] == "file"
    }


def _size_and_time(entry: Mapping[str, Any]) -> tuple[int, float]:
    changed = next((entry[key] for key in ("mtime", "LastModified") if entry.get(key)), 0.0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return int(entry["size"]), seconds


def _filesystem(path: str) -> Any:
    # One for each process: its event loop's thread does not survive a fork.
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    return _connect(path.split("://")[0], os.getpid(), emulator)


@lru_cache(maxsize=8)
def _connect(scheme: str, process: int, emulator: str) -> Any:
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme == "gs":
        # gcsfs would print a traceback for what we say in one line.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
        options["requests_timeout"] = 60
        if emulator:
            # Its probe for storage layouts asks the real service, and waits for a minute.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            options |= {"token": "anon", "endpoint_url": emulator}
    try:
        import fsspec

        return fsspec.filesystem(scheme, **options)
    except (ImportError, OSError, ValueError) as error:
        hint = "no such scheme" if isinstance(error, ValueError) else str(error).splitlines()[0]
        raise UserError(
            f"nothing installed can read {scheme}:// ({hint}); for gs:// pip install 'bertmill[gcp]'"
        ) from None


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Turns what a store says of a wrong bucket or permission into one line."""
    try:
        yield
    except FileNotFoundError:
        raise
    except UserError as error:
        raise error if path in str(error) else UserError(f"{path}: {error}") from None
    except Exception as error:
        reason = " ".join(str(error).split())
        for sign, meaning in _HTTP_REASONS:
            if re.search(sign, f"{type(error).__name__} {reason}"):
                check = (
                    "check the network"
                    if meaning == _UNREACHABLE
                    else "check the bucket's name and your credentials"
                )
                raise UserError(f"{path}: {meaning} ({reason[:150]}); {check}") from None
        raise

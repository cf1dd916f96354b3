"""gs:// through gcsfs: what ``pipelines.files`` needs, for processes that have no use for Beam.

Requests are retried with growing pauses by gcsfs itself, for about half a minute. Listings are never
cached: other processes write too. An object appears when its upload is complete, whole.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from typing import IO, Any

_BLOCK = 8 << 20


@lru_cache(maxsize=1)
def _filesystem(process: int, emulator: str) -> Any:
    # gcsfs would print a traceback for what we say in one line.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)
    if emulator:
        # Its probe for storage layouts asks the real service, and waits for a minute.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    import gcsfs

    options = {"token": "anon", "endpoint_url": emulator} if emulator else {}
    return gcsfs.GCSFileSystem(
        use_listings_cache=False, skip_instance_cache=True, requests_timeout=60, **options
    )


def _gcs() -> Any:
    # One for each process: its event loop's thread does not survive a fork.
    return _filesystem(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST", ""))


def open_read(path: str) -> IO[bytes]:
    """Opens an object for reading. Raises FileNotFoundError at once if there is none."""
    return _gcs().open(path, "rb", block_size=_BLOCK)


def download(path: str, local: str) -> None:
    """Copies an object to a local file. Raises FileNotFoundError if there is none."""
    _gcs().get_file(path, local)


def upload(local: str, path: str) -> None:
    """Copies a local file to an object, which appears when all of it is there."""
    _gcs().put_file(local, path)


def exists(path: str) -> bool:
    """True if there is an object (not merely a folder) of this name."""
    try:
        return bool(_gcs().info(path)["type"] == "file")
    except FileNotFoundError:
        return False


def delete(path: str) -> None:
    """Deletes an object; a missing one is no error."""
    try:
        _gcs().rm_file(path)
    except FileNotFoundError:
        return


def names_in(folder: str) -> list[str]:
    """The names of the objects directly in a folder; [] if there is none."""
    try:
        entries = _gcs().ls(folder, detail=True)
    except FileNotFoundError:
        return []
    names = [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]
    return [name for name in names if name]

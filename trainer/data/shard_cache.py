"""Remote shards on the local disk: fetched ahead by threads, verified, deleted to make room.

A cached file is named after the SHA-256 of its content and appears by a rename once it is verified,
so processes of one machine share a folder without knowing of each other; what is there already is
verified too, when a process first wants it. The folder stays below its
limit: shards that this process does not want go, the longest unused first. A file that another
process deletes stays readable where it is open.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipelines.errors import UserError
from pipelines.records.shards import ShardInfo, damaged_shard, file_sha256
from pipelines.storage import files

FETCHING_THREADS = 4
# Pauses before another attempt, in seconds; the filesystem's own retries come on top.
_PAUSES = (1.0, 4.0)
# How often (seconds) a transfer that waits for room checks for some.
_CHECK_EVERY = 1.0
_TEMPORARY = ".incomplete-"
# What a cache holds; a folder may hold other things, which are not the cache's to delete.
_CACHED = re.compile(rf"[0-9a-f]{{64}}|{re.escape(_TEMPORARY)}[0-9a-f]{{32}}")
# A temporary file this old (seconds) was left by a process that was killed.
_ABANDONED = 3600.0


def default_cache_folder() -> str:
    """Where shards are kept by default: the same for all runs of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "bertmill", "shards")


class ShardCache:
    """Local copies of remote shards.

    Args:
        folder: where they are; made if it does not exist.
        limit: most bytes in it.
    """

    def __init__(self, folder: str, limit: int):
        self._folder, self.limit = Path(folder), limit
        self._lock = threading.Condition()
        # Transfers that have not ended, and the shards to keep, by SHA-256.
        self._coming: dict[str, Future[None]] = {}
        self._wanted: set[str] = set()
        self._verified: set[str] = set()
        # The size of each temporary file once it is whole.
        self._reserved: dict[str, int] = {}
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="fetch")

    def want(self, shards: Mapping[str, ShardInfo]) -> None:
        """Begins to fetch the shards (their manifest entries by their paths), in this order.

        They stay until the next call, which says what is wanted from then on.
        """
        self._stopped.clear()
        with self._lock:
            self._wanted = {info.sha256 for info in shards.values()}
            for digest, future in list(self._coming.items()):
                if digest not in self._wanted and future.cancel():
                    del self._coming[digest]
        for path, info in shards.items():
            self._begin(path, info)

    def get(self, path: str, info: ShardInfo) -> str:
        """The path of the local copy; waits for it if it is not there yet.

        Raises DamagedShardError for a shard that is missing or is not what its manifest says, and
        UserError where it cannot be fetched at all.
        """
        self._stopped.clear()
        if transfer := self._begin(path, info):
            transfer.result()
        return str(self._folder / info.sha256)

    def discard(self, info: ShardInfo) -> None:
        """Deletes a local copy that turned out to be damaged."""
        (self._folder / info.sha256).unlink(missing_ok=True)

    def stop(self) -> None:
        """Fetches nothing more ahead. What is in the folder stays for the next run."""
        self.want({})
        self._stopped.set()

    def _begin(self, path: str, info: ShardInfo) -> Future[None] | None:
        """The transfer of a shard, which begins if it has not; None if there is a verified copy."""
        with self._lock:
            if info.sha256 not in self._coming:
                whole = _is_whole(self._folder / info.sha256, info.bytes)
                if whole and info.sha256 in self._verified:
                    return None
                self._coming[info.sha256] = self._pool.submit(self._fetch, path, info)
            return self._coming[info.sha256]

    def _fetch(self, path: str, info: ShardInfo) -> None:
        name = f"{_TEMPORARY}{uuid.uuid4().hex}"
        temporary, copy = self._folder / name, self._folder / info.sha256
        try:
            self._make_folder()
            if _is_whole(copy, info.bytes) and _has_sha256(copy, info.sha256):
                self._verified.add(info.sha256)
                return
            for pause in (*_PAUSES, None):
                self._make_room(name, info.bytes)
                problem = self._try(path, info, temporary)
                if problem is None:
                    temporary.replace(copy)
                    self._verified.add(info.sha256)
                    return
                if pause is None or self._stopped.wait(pause):
                    raise problem
        finally:
            temporary.unlink(missing_ok=True)
            with self._lock:
                # A transfer that failed ahead of the need is tried again by ``get``.
                del self._coming[info.sha256]
                self._reserved.pop(name, None)
                self._lock.notify_all()

    def _make_folder(self) -> None:
        try:
            files.make_folder(str(self._folder))
        except UserError as error:
            raise UserError(f"--cache_dir: {error}") from None

    def _try(self, path: str, info: ShardInfo, temporary: Path) -> UserError | None:
        """Fetches to the temporary file; returns the problem if another attempt may succeed."""
        try:
            files.download(path, str(temporary))
        except FileNotFoundError:
            raise damaged_shard(path, "is missing") from None
        except UserError:
            raise
        except Exception as error:  # each store's library has its own errors
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"--cache_dir: no room on the disk of {self._folder} for shard {path}; make "
                    "room, or name another folder or a smaller --cache_gb"
                ) from None
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            return UserError(
                f"shard {path} could not be fetched ({reason}); check the network and run the "
                "same command again"
            )
        size = temporary.stat().st_size
        if size != info.bytes:
            return damaged_shard(path, f"has {size:,} bytes, its manifest says {info.bytes:,}")
        if file_sha256(str(temporary)) != info.sha256:
            return damaged_shard(path, "does not match the checksum in its manifest")
        return None

    def _make_room(self, name: str, size: int) -> None:
        """Reserves ``size`` bytes for the file ``name``: deletes shards that are not wanted and waits
        for transfers that are no longer wanted, until it fits.

        Goes ahead where neither helps: the rest belongs to other processes.
        """
        with self._lock:
            while not self._delete_for(name, size) and self._reserved.keys() - {name}:
                self._lock.wait(_CHECK_EVERY)
            self._reserved[name] = size

    def _delete_for(self, name: str, size: int) -> bool:
        """Deletes shards that are not wanted until the file fits; False if it does not."""
        cached = []
        for entry in os.scandir(self._folder):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # another process deleted it
            is_ours = _CACHED.fullmatch(entry.name) is not None
            if is_ours and entry.name not in self._reserved and entry.name != name:
                cached.append((status.st_mtime, status.st_size, entry.name))
        reserved = sum(length for other, length in self._reserved.items() if other != name)
        used = size + reserved + sum(length for _, length, _ in cached)
        for modified, length, other in sorted(cached):
            if used <= self.limit:
                break
            is_others = other.startswith(_TEMPORARY) and time.time() - modified < _ABANDONED
            if not is_others and other not in self._wanted:
                (self._folder / other).unlink(missing_ok=True)
                used -= length
        return used <= self.limit


def _has_sha256(path: Path, expected: str) -> bool:
    try:
        return file_sha256(str(path)) == expected
    except FileNotFoundError:  # somebody else needed the room
        return False


def _is_whole(path: Path, size: int) -> bool:
    """True for a whole cached file, which counts as used from now."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True

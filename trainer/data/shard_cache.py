"""Remote shards on the local disk: fetched ahead by threads, verified, thrown away when in the way.

A cached file is named after the SHA-256 of its content and appears by a rename once it is verified,
so processes of one machine share a folder without knowing of each other. The folder stays below its
limit: what nobody here asked for goes first, the longest unused before the others. A file that
another process throws away stays readable where it is open.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipelines import files
from pipelines.errors import UserError
from pipelines.records.shards import ShardInfo, damaged_shard, file_sha256

FETCHING_THREADS = 4
# Pauses before another attempt, in seconds; the filesystem's own retries come on top.
_PAUSES = (1.0, 4.0)
# How often (seconds) a transfer that waits for room looks for some.
_LOOK_AGAIN = 1.0
_TEMPORARY = ".incomplete-"
# A temporary file this old (seconds) belongs to nobody any more.
_ABANDONED = 3600.0


def default_cache_folder() -> str:
    """Where shards are kept unless told otherwise: the same for all runs of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "bertmill", "shards")


class ShardCache:
    """Local copies of remote shards.

    Args:
        folder: where they are; made if it is not there.
        limit: most bytes in it.
    """

    def __init__(self, folder: str, limit: int):
        self._folder, self._limit = Path(folder), limit
        self._lock = threading.Condition()
        self._coming: dict[str, Future[str]] = {}
        self._wanted: set[str] = set()
        # What each temporary file will have taken up when it is whole.
        self._reserved: dict[str, int] = {}
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(FETCHING_THREADS, thread_name_prefix="fetch")

    @property
    def limit(self) -> int:
        """Most bytes in the folder."""
        return self._limit

    def want(self, shards: Sequence[tuple[str, ShardInfo]]) -> None:
        """Begins to fetch the shards (their paths and manifest entries), in this order.

        They stay until the next call, which says what is wanted from then on.
        """
        self._stopped.clear()
        with self._lock:
            self._wanted = {info.sha256 for _, info in shards}
            # What waits for a thread and is wanted no more need not come.
            for digest, future in list(self._coming.items()):
                if digest not in self._wanted and (future.cancel() or future.done()):
                    del self._coming[digest]
        for path, info in shards:
            self._begin(path, info)

    def get(self, path: str, info: ShardInfo) -> str:
        """The local copy, waiting for it if it is not there yet.

        Raises DamagedShardError for a shard that is missing or is not what its manifest says, and
        UserError where it cannot be fetched at all.
        """
        self._stopped.clear()
        future = self._begin(path, info)
        if future.done() and isinstance(future.exception(), UserError):
            # It failed some time ago, ahead of the need: the store may be back.
            self._forget(info, future)
            future = self._begin(path, info)
        try:
            return future.result()
        finally:
            self._forget(info, future)

    def discard(self, info: ShardInfo) -> None:
        """Deletes a local copy that turned out not to be what was put there."""
        (self._folder / info.sha256).unlink(missing_ok=True)

    def stop(self) -> None:
        """Fetches nothing more ahead. What is in the folder stays for the next run."""
        self.want([])
        self._stopped.set()

    def _forget(self, info: ShardInfo, future: Future[str]) -> None:
        with self._lock:
            if self._coming.get(info.sha256) is future:
                del self._coming[info.sha256]

    def _begin(self, path: str, info: ShardInfo) -> Future[str]:
        with self._lock:
            if info.sha256 not in self._coming:
                here = self._folder / info.sha256
                if _is_there(here, info.bytes):
                    done: Future[str] = Future()
                    done.set_result(str(here))
                    return done
                self._coming[info.sha256] = self._pool.submit(self._fetch, path, info)
            return self._coming[info.sha256]

    def _fetch(self, path: str, info: ShardInfo) -> str:
        target = self._folder / info.sha256
        name = f"{_TEMPORARY}{uuid.uuid4().hex}"
        temporary = self._folder / name
        try:
            files.make_folder(str(self._folder))
        except UserError as error:
            raise UserError(f"--cache_dir: {error}") from None
        try:
            for pause in (*_PAUSES, None):
                self._make_room(name, info.bytes)
                problem = self._try(path, info, temporary)
                if problem is None:
                    os.replace(temporary, target)
                    return str(target)
                if pause is None or self._stopped.wait(pause):
                    raise problem
            raise AssertionError
        finally:
            temporary.unlink(missing_ok=True)
            with self._lock:
                self._reserved.pop(name, None)
                self._lock.notify_all()

    def _try(self, path: str, info: ShardInfo, temporary: Path) -> UserError | None:
        """Fetches to the temporary file; says what went wrong if another attempt may do better."""
        try:
            files.download(path, str(temporary))
        except FileNotFoundError:
            raise damaged_shard(path, "is missing") from None
        except UserError:
            raise
        except Exception as error:  # each store's library has errors of its own
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
        """Reserves ``size`` bytes for the file ``name``: deletes others, the longest unused first
        and none that is wanted, and waits for transfers that nobody wants any more, until it fits.

        Goes ahead where neither helps: the rest is of other processes.
        """
        with self._lock:
            while not self._delete_for(name, size) and self._reserved.keys() - {name}:
                self._lock.wait(_LOOK_AGAIN)
            self._reserved[name] = size

    def _delete_for(self, name: str, size: int) -> bool:
        """Deletes what may go until the file fits; False if it does not."""
        cached = []
        for entry in os.scandir(self._folder):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # another process was faster
            if entry.name not in self._reserved and entry.name != name:
                cached.append((status.st_mtime, status.st_size, entry.name))
        reserved = sum(length for other, length in self._reserved.items() if other != name)
        used = size + reserved + sum(length for _, length, _ in cached)
        for modified, length, other in sorted(cached):
            if used <= self._limit:
                break
            is_others = other.startswith(_TEMPORARY) and time.time() - modified < _ABANDONED
            if not is_others and other not in self._wanted:
                (self._folder / other).unlink(missing_ok=True)
                used -= length
        return used <= self._limit


def _is_there(path: Path, size: int) -> bool:
    """True for a whole cached file, which counts as used from now."""
    try:
        if path.stat().st_size != size:
            return False
        os.utime(path)
    except FileNotFoundError:
        return False
    return True

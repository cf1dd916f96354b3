"""Local shards compared with their checksums in a thread, each once, from when it is first opened.

Reading goes on meanwhile, so no step waits for the hash of all its shards; what was learned is kept only
after ``wait``. Remote shards are verified when they are fetched (``ShardCache``).
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor

from pipelines.records.shards import ShardInfo, content_sha256, damaged_shard
from pipelines.storage import files


class ShardCheck:
    """The shards that a run has opened, and the first of them that is not as its manifest says."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checksums")
        self._begun: dict[str, Future[None]] = {}
        self._error: Exception | None = None
        self._stopped = False

    def begin(self, path: str, info: ShardInfo, opened: os.stat_result) -> None:
        """Begins to read a shard, unless that was begun before. ``opened``: the file that is trained
        on, which must still be the one of this name."""
        if path not in self._begun and not self._stopped:
            self._begun[path] = self._thread.submit(self._compare, path, info, opened)

    def raise_found(self) -> None:
        """Raises DamagedShardError (a UserError) if a damaged shard is known by now."""
        if self._error:
            raise self._error

    def unfinished(self) -> int:
        """How many shards are still to be compared."""
        return sum(not future.done() for future in list(self._begun.values()))

    def wait(self) -> None:
        """Waits for all that have begun. Raises as ``raise_found``."""
        for future in list(self._begun.values()):
            future.result()
        self.raise_found()

    def stop(self) -> None:
        """Compares no more of them."""
        self._stopped = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _compare(self, path: str, info: ShardInfo, opened: os.stat_result) -> None:
        if self._error:
            return
        try:
            with files.open_read(path) as file:
                if not os.path.samestat(os.fstat(file.fileno()), opened):
                    raise damaged_shard(path, "was replaced while it was read")
                if content_sha256(file) != info.sha256:
                    raise damaged_shard(path, "does not match the checksum in its manifest")
        except FileNotFoundError:
            self._error = damaged_shard(path, "is missing")
        except Exception as error:  # raised to whoever asks
            self._error = error

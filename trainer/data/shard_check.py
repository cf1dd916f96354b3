"""Local shards compared with their checksums in a thread, each once, from when it is first opened.

Reading goes on meanwhile, so no step waits for the hash of all its shards; what was learned is kept only
after ``wait``. Remote shards are verified when they are fetched (``ShardCache``).
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from pipelines.records.shards import ShardInfo, damaged_shard, file_sha256


class ShardCheck:
    """The shards that a run has opened, and the first of them that is not as its manifest says."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checksums")
        self._begun: dict[str, Future[None]] = {}
        self._error: Exception | None = None
        self._stopped = False

    def begin(self, path: str, info: ShardInfo) -> None:
        """Begins to read a shard, unless that was begun before."""
        if path not in self._begun and not self._stopped:
            self._begun[path] = self._thread.submit(self._compare, path, info)

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

    def _compare(self, path: str, info: ShardInfo) -> None:
        if self._error:
            return
        try:
            if file_sha256(path) != info.sha256:
                raise damaged_shard(path, "does not match the checksum in its manifest")
        except FileNotFoundError:
            self._error = damaged_shard(path, "is missing")
        except Exception as error:  # raised to whoever asks
            self._error = error

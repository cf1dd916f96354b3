"""Which remote shards are fetched when: those of the present window first, then those of the next.

What a step needs follows from its number (``step_shards``), so nothing has to be announced: while
the rows of one window are trained on, threads fetch the next, and what went before may go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.errors import UserError
from pipelines.records.shards import ShardInfo
from trainer.data.dataset import TRAIN, VALIDATION, Dataset, RowReader
from trainer.data.order import NeededShards
from trainer.data.shard_cache import ShardCache
from trainer.data.step_rows import TrainingRows

_GB = 1e9


class FetchAhead:
    """Tells the cache what the steps to come need.

    Args:
        datasets, readers: the data, and the readers of its training rows.
        cache: the cache of those readers.
        rows: which rows each step trains on.

    Raises UserError if what a step may need is more than the cache may hold.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        readers: Sequence[RowReader],
        cache: ShardCache,
        rows: TrainingRows,
    ):
        self._datasets, self._readers, self._cache = datasets, readers, cache
        self._rows = rows
        self._last: list[NeededShards] | None = None
        self._check_room()

    def prepare(self, step: int, at_once: Sequence[Sequence[int]]) -> None:
        """Fetches what ``step`` needs, ``at_once`` (shards of each dataset) before all others."""
        needed = self._rows.shards_from(step)
        if needed == self._last:
            return
        self._last = needed
        wanted = [(i, number) for i, numbers in enumerate(at_once) for number in numbers]
        for entry in needed:
            found = self._readers[entry.source].shards_in_epoch(entry.shards, entry.epoch)
            wanted += [(entry.source, number) for number in found]
        paths: dict[str, ShardInfo] = {}
        for i, dataset in enumerate(self._datasets):
            if not dataset.is_remote:
                continue
            mine = dict.fromkeys(number for source, number in wanted if source == i)
            self._readers[i].close_all_but(set(mine))
        for source, number in wanted:
            dataset = self._datasets[source]
            if dataset.is_remote:
                shard = dataset.shards(TRAIN)[number]
                paths[dataset.path(shard)] = shard
        for dataset in self._datasets:
            if dataset.is_remote:
                paths |= {dataset.path(shard): shard for shard in dataset.shards(VALIDATION)}
        self._cache.want(list(paths.items()))

    def _check_room(self) -> None:
        window, batch = self._rows.window, self._rows.batch_size
        left = list(zip(self._datasets, self._rows.shards, strict=True))
        streams = [left] if self._rows.weights is None else [[one] for one in left]
        need = 0
        for stream in streams:
            remote = [
                shard.bytes
                for dataset, _ in stream
                if dataset.is_remote
                for shard in dataset.shards(TRAIN)
            ]
            rows = sorted(rows for _, shards in stream for rows in shards)
            copies = max(dataset.copies(TRAIN) for dataset, _ in stream)
            if window is None:
                # An epoch and, with several copies, the next one's.
                need += sum(remote) * min(copies, 2) // copies
            else:
                smallest = max(1, sum(rows[:window]))
                windows = 1 + max(1, -(-batch // smallest))
                need += sum(sorted(remote, reverse=True)[: windows * window])
        need += sum(
            shard.bytes
            for dataset in self._datasets
            if dataset.is_remote
            for shard in dataset.shards(VALIDATION)
        )
        if need > self._cache.limit:
            fix = "--shard_window N" if window is None else f"a --shard_window below {window}"
            raise UserError(
                f"--cache_gb {self._cache.limit / _GB:g}: up to {np.ceil(need / _GB * 1000) / 1000:g} "
                f"GB of remote shards are needed at a time; allow that much, or give {fix}"
            )

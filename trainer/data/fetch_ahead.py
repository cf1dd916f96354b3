"""Which remote shards are fetched when: those of the present window first, then those of the next.

What a step needs follows from its number (``step_shards``), so nothing has to be announced: while
the rows of one window are trained on, threads fetch the next, and what went before may go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
        self._remote = [i for i, dataset in enumerate(datasets) if dataset.is_remote]
        self._check_room()

    def prepare(
        self,
        step: int,
        epoch: NDArray[np.int64],
        source: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> None:
        """Fetches what ``step`` needs; the shards of the given rows of it before all others."""
        needed = self._rows.shards_from(step)
        if needed == self._last:
            return
        self._last = needed
        numbers: dict[int, list[int]] = {}
        for i in self._remote:
            mine = source == i
            numbers[i] = self._readers[i].shards_of(row[mine], epoch[mine])
        wanted = [(i, number) for i in self._remote for number in numbers[i]]
        for entry in needed:
            if entry.source in numbers:
                in_epoch = self._readers[entry.source].shards_in_epoch(entry.shards, entry.epoch)
                wanted += [(entry.source, number) for number in in_epoch]
        shards: dict[str, ShardInfo] = {}
        for i, number in wanted:
            shard = self._datasets[i].shards(TRAIN)[number]
            shards[self._datasets[i].path(shard)] = shard
        for i in self._remote:
            self._readers[i].close_all_but({number for j, number in wanted if j == i})
            dataset = self._datasets[i]
            shards |= {dataset.path(shard): shard for shard in dataset.shards(VALIDATION)}
        self._cache.want(list(shards.items()))

    def _check_room(self) -> None:
        needed = sum(
            shard.bytes for i in self._remote for shard in self._datasets[i].shards(VALIDATION)
        )
        everything = list(range(len(self._datasets)))
        streams = [everything] if self._rows.weights is None else [[i] for i in everything]
        needed += sum(self._most_bytes(stream) for stream in streams)
        if needed > self._cache.limit:
            window = self._rows.window
            fix = "--shard_window N" if window is None else f"a --shard_window below {window}"
            raise UserError(
                f"--cache_gb {self._cache.limit / _GB:g}: up to "
                f"{math.ceil(needed / _GB * 1000) / 1000:g} GB of remote shards are needed at a "
                f"time; allow that much, or give {fix}"
            )

    def _most_bytes(self, stream: Sequence[int]) -> int:
        """The most that is needed at a time of datasets which have epochs in common."""
        sizes = [
            shard.bytes
            for i in stream
            if i in self._remote
            for shard in self._datasets[i].shards(TRAIN)
        ]
        window = self._rows.window
        if window is None:
            # An epoch and, with several copies, the next one's.
            copies = max(self._datasets[i].copies(TRAIN) for i in stream)
            return sum(sizes) * min(copies, 2) // copies
        rows = sorted(count for i in stream for count in self._rows.shards[i])
        smallest_window = max(1, sum(rows[:window]))
        windows = 1 + max(1, -(-self._rows.batch_size // smallest_window))
        return sum(sorted(sizes, reverse=True)[: windows * window])

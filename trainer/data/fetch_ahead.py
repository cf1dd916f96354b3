"""Which remote shards are fetched when: those of the present window first, then those of the next.

What a step needs follows from its number (``RowOrder.shards_needed``): while the rows of one window
are trained on, threads fetch the next, and earlier ones may be deleted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.errors import UserError
from trainer.data.dataset import TRAIN, VALIDATION, Dataset
from trainer.data.order import RowOrder, StepRows
from trainer.data.row_reader import RowReader
from trainer.data.shard_cache import ShardCache

_GB = 1e9


class FetchAhead:
    """Tells the cache what the steps to come need.

    Args:
        datasets, readers: the data, and the readers of its training rows.
        cache: the cache of those readers.
        order: which rows each step trains on.

    Raises UserError if what a step may need is more than the cache may hold.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        readers: Sequence[RowReader],
        cache: ShardCache,
        order: RowOrder,
    ):
        self._datasets, self._readers, self._cache = datasets, readers, cache
        self._order = order
        self._last: list[tuple[int, int, int]] = []
        self._remote = [i for i, dataset in enumerate(datasets) if dataset.is_remote]
        self._check_room()

    def prepare(self, step: int, rows: StepRows) -> None:
        """Fetches what ``step`` needs; the shards of the given rows of it before all others."""
        epoch, source, row = rows
        needed = self._order.shards_needed(step)
        if needed == self._last:
            return
        self._last = needed
        now, later = [], []
        for i in self._remote:
            dataset, reader, mine = self._datasets[i], self._readers[i], source == i
            shards_of_rows, _ = reader.locate(row[mine], epoch[mine])
            in_windows = [(shard, e) for e, owner, shard in needed if owner == i]
            shards = reader.shard_in_epoch(*np.array(in_windows, np.int64).reshape(-1, 2).T)
            first, rest = np.unique(shards_of_rows).tolist(), shards.tolist()
            reader.close_all_but({*first, *rest})
            now += [(dataset, dataset.shards(TRAIN)[number]) for number in first]
            later += [(dataset, dataset.shards(TRAIN)[number]) for number in rest]
            later += [(dataset, shard) for shard in dataset.shards(VALIDATION)]
        self._cache.want({dataset.path(shard): shard for dataset, shard in now + later})

    def _check_room(self) -> None:
        remote = [self._datasets[i] for i in self._remote]
        needed = sum(shard.bytes for dataset in remote for shard in dataset.shards(VALIDATION))
        needed += sum(self._most_bytes(pool) for pool in self._order.pools)
        if needed > self._cache.limit:
            window = self._order.window
            fix = "--shard_window N" if window is None else f"a --shard_window below {window}"
            raise UserError(
                f"--cache_gb {self._cache.limit / _GB:g}: up to "
                f"{math.ceil(needed / _GB * 1000) / 1000:g} GB of remote shards are needed at a "
                f"time; allow that much, or give {fix}"
            )

    def _most_bytes(self, pool: Sequence[int]) -> int:
        """The most that is needed at a time of datasets which have epochs in common."""
        remote = [self._datasets[i] for i in pool if i in self._remote]
        sizes = [shard.bytes for dataset in remote for shard in dataset.shards(TRAIN)]
        rows = sorted(count for i in pool for count in self._order.shards[i])
        # Without windows, an epoch is one: all shards of one copy.
        window = self._order.window or sum(len(d.shard_rows(TRAIN)) for d in remote)
        smallest_window = max(1, sum(rows[: self._order.window]))
        windows = 1 + max(1, -(-self._order.batch_size // smallest_window))
        return sum(sorted(sizes, reverse=True)[: windows * window])

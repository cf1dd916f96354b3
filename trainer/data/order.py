"""Which rows make up each training step: a pure function, without state and without a shuffle buffer.

Every epoch is a keyed permutation of all rows, evaluated only at the places that a step needs, so
step 1,000,000 costs as much as step 0, and a resumed run needs nothing but its step number.
Invariants: each row exactly once an epoch; the rows of a step do not depend on the number of hosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key
from trainer.data.epoch import Epoch
from trainer.data.mixture import count_shares, drawn_before, mixture_at

# Epoch, source and row within the source, int64[rows] each.
StepRows = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class RowOrder:
    """The rows of every step of a run.

    Args:
        shards: how many rows each shard of each source has.
        skipped: the numbers of the rows of each source that are never read, ascending; None: nowhere
            any. They take no place in the order.
        weights: share of each source in the batches, in any unit; every source then has epochs of
            its own. None: all rows of all sources are one pool, and every epoch has each once.
        seed: any integer.
        batch_size: rows in a step, over all hosts.
        window: how many shards (of the pool, or of each source) are shuffled together; None: all.

    Attributes: ``shards``: how many rows are left in each shard of each source; ``pools``: the
    sources that have epochs in common; ``batch_size`` and ``window`` as given.

    Raises UserError for weights that are not positive numbers.
    """

    def __init__(
        self,
        shards: Sequence[Sequence[int]],
        *,
        skipped: Sequence[NDArray[np.int64]] | None = None,
        weights: Sequence[float] | None = None,
        seed: int,
        batch_size: int,
        window: int | None = None,
    ):
        self._skipped = skipped or [np.empty(0, np.int64)] * len(shards)
        shards = [_count_kept(*pair) for pair in zip(shards, self._skipped, strict=True)]
        self.shards, self.batch_size, self.window = shards, batch_size, window
        self._seed = seed
        self._shares = None if weights is None else count_shares(weights)
        self._source_ends = np.cumsum([sum(rows) for rows in shards], dtype=np.int64)
        sources = list(range(len(shards)))
        self.pools = [sources] if weights is None else [[i] for i in sources]
        # Source and number of each shard of a pool.
        self._owners = [
            [(i, j) for i in pool for j in range(len(shards[i]))] for pool in self.pools
        ]
        key = purpose_key(seed, "row order")
        keys = [key] if weights is None else [fold(key, i) for i in sources]
        self._streams = [
            _Stream([shards[i][j] for i, j in owners], window, key)
            for owners, key in zip(self._owners, keys, strict=True)
        ]

    def rows(self, step: int, host: int = 0, hosts: int = 1) -> StepRows:
        """The rows of training step ``step`` = 0, 1, … that host ``host`` of ``hosts`` reads: its
        contiguous part of them.

        Raises UserError if the hosts cannot share a batch evenly.
        """
        if self.batch_size % hosts:
            raise UserError(
                f"batch_size {self.batch_size} cannot be shared evenly by {hosts} processes"
            )
        own_rows = self.batch_size // hosts
        start = step * self.batch_size + host * own_rows
        positions = np.arange(start, start + own_rows, dtype=np.int64)
        if self._shares is None:
            epoch, pooled = self._streams[0].rows_at(positions)
            source = np.searchsorted(self._source_ends, pooled, side="right")
            row = pooled - np.concatenate([[0], self._source_ends])[source]
        else:
            source, drawn = mixture_at(positions, self._shares, self._seed)
            epoch, row = np.empty_like(drawn), np.empty_like(drawn)
            for i, stream in enumerate(self._streams):
                of_source = source == i
                epoch[of_source], row[of_source] = stream.rows_at(drawn[of_source])
        for i, skipped in enumerate(self._skipped):
            row[source == i] = _number_kept(row[source == i], skipped)
        return epoch, source, row

    def shards_needed(self, step: int) -> list[tuple[int, int, int]]:
        """(epoch, source, shard) of all that the windows of a step hold, in the order of need, and of
        the next window of each stream if the step reads from one window only."""
        bounds = (step * self.batch_size, (step + 1) * self.batch_size)
        if self._shares is None:
            drawn = [bounds]
        else:
            first, stop = (drawn_before(bound, self._shares, self._seed) for bound in bounds)
            drawn = list(zip(first, stop, strict=True))
        return [
            (epoch, *owners[shard])
            for stream, owners, (first_draw, stop_draw) in zip(
                self._streams, self._owners, drawn, strict=True
            )
            for epoch, shards in stream.windows_needed(first_draw, stop_draw)
            for shard in shards
        ]


class _Stream:
    """The endless rows of a pool: epoch after epoch."""

    def __init__(self, shards: Sequence[int], window: int | None, key: NDArray[np.uint64]):
        self._rows = sum(shards)
        self._epoch = lru_cache(8)(lambda number: Epoch(shards, window, fold(key, number)))

    def rows_at(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch and the row of the n-th draws from this stream."""
        epochs, places = np.divmod(drawn, self._rows)
        rows = np.empty_like(places)
        for number in np.unique(epochs).tolist():
            of_epoch = epochs == number
            rows[of_epoch] = self._epoch(number).rows_at(places[of_epoch])
        return epochs, rows

    def windows_needed(self, first: int, stop: int) -> list[tuple[int, list[int]]]:
        """(epoch, shards) of the windows that draws ``first`` … ``stop`` - 1 fall into; if that is
        one only, also of the next."""
        needed: list[tuple[int, list[int]]] = []
        for start, epoch, shards in self._windows_from(first):
            is_next = start >= max(stop, first + 1)
            if not is_next or len(needed) == 1:
                needed.append((epoch, shards))
            if is_next:
                break
        return needed

    def _windows_from(self, first: int) -> Iterator[tuple[int, int, list[int]]]:
        """The first draw, epoch and shards of the window that a draw falls into, and of all after."""
        epoch, place = divmod(first, self._rows)
        for number in count(epoch):
            for start, shards in self._epoch(number).windows_from(place):
                yield number * self._rows + start, number, shards
            place = 0


def _count_kept(shards: Sequence[int], skipped: NDArray[np.int64]) -> list[int]:
    """How many rows are left of shards with so many each."""
    ends = np.cumsum(shards, dtype=np.int64)
    lost = np.bincount(np.searchsorted(ends, skipped, side="right"), minlength=len(ends))
    return (np.asarray(shards, np.int64) - lost).tolist()


def _number_kept(kept: NDArray[np.int64], skipped: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers among all rows of rows that are numbered 0, 1, … without the skipped ones."""
    # Before the j-th skipped row, s[j] - j rows are kept: it precedes those from there on.
    kept_before = skipped - np.arange(len(skipped))
    return kept + np.searchsorted(kept_before, kept, side="right")

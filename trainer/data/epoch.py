"""The order of the rows in one epoch: all shuffled together, or one window of shards after another.

A window is some shards, in random order, whose rows are shuffled together. While one is trained on,
only its shards are needed, and which come next is known: remote shards are fetched ahead and deleted
afterwards. With shards of 3, 2 and 4 rows, ``window`` 2 and the shard order 2, 0, 1, places 0 … 6 of
the epoch hold the rows of shards 2 and 0 in random order, places 7 and 8 those of shard 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, mix

_FEISTEL_ROUNDS = 8


class Epoch:
    """The rows of shards with so many ``rows`` each, in the order that ``key`` (uint64) draws.

    ``window``: how many shards are shuffled together; None: all, in one permutation of all rows.
    """

    def __init__(self, rows: Sequence[int], window: int | None, key: NDArray[np.uint64]):
        counts = np.asarray(rows, np.int64)
        numbers = np.arange(len(counts), dtype=np.int64)
        if window is None:
            self._order, self._window_keys = numbers, np.atleast_1d(key)
        else:
            # The epoch's key 0 orders the shards, the following ones the rows of each window.
            self._order = permute(numbers, len(numbers), fold(key, 0))
            self._window_keys = fold(key, 1 + np.arange(-(-len(numbers) // window)))
        self._window = window or len(numbers)
        # Where each shard ends in this epoch, and its first row in the numbering of the rows.
        self._ends = np.cumsum(counts[self._order])
        self._first_rows = (np.cumsum(counts) - counts)[self._order]
        last = np.arange(1, len(self._window_keys) + 1) * self._window - 1
        self._window_ends = self._ends[np.minimum(last, len(numbers) - 1)]
        self._window_starts = np.concatenate([[0], self._window_ends[:-1]])

    def rows_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row at each place of the epoch, numbered through the shards in their own order."""
        windows = np.searchsorted(self._window_ends, places, side="right")
        shuffled = np.empty_like(places)
        for number in np.unique(windows).tolist():
            inside = windows == number
            start, end = self._window_starts[number], self._window_ends[number]
            within = permute(places[inside] - start, int(end - start), self._window_keys[number])
            shuffled[inside] = start + within
        shards = np.searchsorted(self._ends, shuffled, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        return self._first_rows[shards] + shuffled - starts[shards]

    def windows_from(self, place: int) -> Iterator[tuple[int, list[int]]]:
        """The window that holds a place and those after it: the place where each begins, and its
        shards. Windows without rows are left out."""
        first = int(np.searchsorted(self._window_ends, place, side="right"))
        for number in range(first, len(self._window_ends)):
            start = int(self._window_starts[number])
            if start < self._window_ends[number]:
                shards = self._order[number * self._window : (number + 1) * self._window]
                yield start, shards.tolist()


def permute(places: NDArray[np.int64], size: int, key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a keyed random permutation of ``range(size)`` sends each of the given places.

    A Feistel network over the smallest power of two that holds ``size`` (Luby and Rackoff 1988); what
    falls outside is sent through again, "cycle walking" (Black and Rogaway 2002). Nothing of that size
    is ever in memory, and a place costs the same whatever it is.
    """
    bits = (size - 1).bit_length()
    low_bits = np.uint64(bits - bits // 2)
    low_mask = np.uint64((1 << int(low_bits)) - 1)
    high_mask = np.uint64((1 << (bits // 2)) - 1)
    keys = fold(key, np.arange(_FEISTEL_ROUNDS))
    result = places.astype(np.uint64)
    outside = np.arange(len(result))
    while len(outside):
        low = result[outside] & low_mask
        high = result[outside] >> low_bits
        for i in range(0, _FEISTEL_ROUNDS, 2):
            # Each half in turn is scrambled by a function of the other: undoable, so a bijection.
            low ^= mix(high ^ keys[i]) & low_mask
            high ^= mix(low ^ keys[i + 1]) & high_mask
        result[outside] = high << low_bits | low
        outside = outside[result[outside] >= np.uint64(size)]
    return result.astype(np.int64)

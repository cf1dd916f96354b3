"""An epoch in windows: all shards in random order, some at a time, their rows shuffled together.

While a window is trained on, only its shards are needed, and which come next is known: what lies
far away is fetched ahead and thrown away afterwards. A pure function of (shards, window, key); an
epoch's table of shards is made once and kept, a row's place costs the same wherever it is.
With shards of 3, 2 and 4 rows, ``window`` 2 and the order 2, 0, 1, places 0 … 6 of the epoch hold
the rows of shards 2 and 0 in random order, places 7 and 8 those of shard 1.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold
from trainer.data.permutation import permute

# Keys of an epoch: this one for the order of its shards, the following ones for its windows.
_SHARDS_KEY = 0


class EpochWindows:
    """One epoch of shards.

    Args:
        shards: how many rows each shard has.
        window: how many shards are shuffled together, at least 1.
        key: the epoch's key (uint64).
    """

    def __init__(self, shards: tuple[int, ...], window: int, key: int):
        rows = np.asarray(shards, np.int64)
        self._key, self._window = np.uint64(key), window
        self._order = permute(
            np.arange(len(rows), dtype=np.int64), len(rows), fold(self._key, _SHARDS_KEY)
        )
        # Row numbers in the epoch's order, and each shard's first row in the source's own.
        self._ends = np.cumsum(rows[self._order])
        self._first_rows = (np.cumsum(rows) - rows)[self._order]
        last_shards = np.minimum(
            np.arange(window - 1, len(rows) + window - 1, window), len(rows) - 1
        )
        self._window_ends = self._ends[last_shards]
        self._window_starts = np.concatenate([[0], self._window_ends[:-1]])

    def __len__(self) -> int:
        return len(self._window_ends)

    def windows_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the window that each place of the epoch falls into."""
        return np.searchsorted(self._window_ends, places, side="right")

    def rows_at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row at each place of the epoch, counted through the shards in their own order."""
        windows = self.windows_at(places)
        shuffled = np.empty_like(places)
        for number in np.unique(windows).tolist():
            inside = windows == number
            start, end = self._window_starts[number], self._window_ends[number]
            key = fold(self._key, _SHARDS_KEY + 1 + number)
            shuffled[inside] = start + permute(places[inside] - start, int(end - start), key)
        shard = np.searchsorted(self._ends, shuffled, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        return self._first_rows[shard] + shuffled - starts[shard]

    def shards_of(self, number: int) -> list[int]:
        """The shards of a window."""
        return self._order[number * self._window : (number + 1) * self._window].tolist()

    def is_empty(self, number: int) -> bool:
        """True for a window whose shards hold no rows."""
        return bool(self._window_starts[number] == self._window_ends[number])


@lru_cache(maxsize=64)
def epoch_windows(shards: tuple[int, ...], window: int, key: int) -> EpochWindows:
    """The windows of an epoch (see ``EpochWindows``), kept for the steps to come."""
    return EpochWindows(shards, window, key)

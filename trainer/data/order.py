"""Which rows make up training step k: a pure function, without state and without a shuffle buffer.

Every epoch is a keyed permutation of all rows, evaluated only at the places that a step needs, so
step 1,000,000 costs as much as step 0, and a resumed run needs nothing but its step number. With a
``window`` an epoch goes through the shards some at a time (``windows.py``), and ``step_shards``
says which a step needs and which come next.
Invariants: each row exactly once an epoch; the rows of a step do not depend on the number of hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, purpose_key
from trainer.data.mixture import count_shares, drawn_before, mixture_at
from trainer.data.permutation import permute
from trainer.data.windows import EpochWindows, epoch_windows


def step_rows(
    k: int,
    *,
    rows_per_source: Sequence[int],
    weights: Sequence[float] | None = None,
    seed: int,
    global_batch: int,
    host: int = 0,
    hosts: int = 1,
    shards: Sequence[Sequence[int]] | None = None,
    window: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows of training step ``k`` = 0, 1, … that this host reads.

    Args:
        k: the step.
        rows_per_source: how many rows each source has, at least 1.
        weights: share of each source in the batches, in any unit; every source then has epochs of
            its own. None: all rows of all sources are one pool and every epoch has each once.
        seed: any integer.
        global_batch: rows in a step, over all hosts.
        host, hosts: host ``host`` of ``hosts`` gets its contiguous part of the step's rows.
        shards: how many rows each shard of each source has; needed for a window.
        window: shards (of the pool, or of each source) whose rows are shuffled together; None: all.

    Returns:
        ``epoch``, ``source`` and ``row`` within the source, int64[global_batch / hosts] each.

    Raises:
        UserError: a batch that the hosts cannot share evenly, or weights that are no shares.
    """
    if global_batch % hosts:
        raise UserError(f"batch_size {global_batch} cannot be shared evenly by {hosts} processes")
    own_rows = global_batch // hosts
    start = k * global_batch + host * own_rows
    positions = np.arange(start, start + own_rows, dtype=np.int64)
    streams = _streams(rows_per_source, weights, seed, shards, window)
    rows = np.asarray(rows_per_source, np.int64)
    if weights is None:
        ends = np.cumsum(rows)
        epoch, pooled = streams[0].rows_at(positions)
        source = np.searchsorted(ends, pooled, side="right")
        return epoch, source, pooled - (ends - rows)[source]
    source, drawn = mixture_at(positions, count_shares(weights), seed)
    epoch, row = np.empty_like(drawn), np.empty_like(drawn)
    for i, stream in enumerate(streams):
        of_source = source == i
        epoch[of_source], row[of_source] = stream.rows_at(drawn[of_source])
    return epoch, source, row


@dataclass(frozen=True)
class NeededShards:
    """Shards of a source that a step needs, or one of the next: numbers within the source, and the
    epoch that they are needed in."""

    epoch: int
    source: int
    shards: tuple[int, ...]


def step_shards(
    k: int,
    *,
    weights: Sequence[float] | None = None,
    seed: int,
    global_batch: int,
    shards: Sequence[Sequence[int]],
    window: int | None = None,
) -> list[NeededShards]:
    """The shards of the windows that step ``k`` reads from, in the order of need, and of the window
    after if it reads from one only: never more than two, or what the step itself needs. The
    arguments are those of ``step_rows``."""
    streams = _streams([sum(counts) for counts in shards], weights, seed, shards, window)
    if weights is None:
        owners = [(i, j) for i, counts in enumerate(shards) for j in range(len(counts))]
        needed = []
        for epoch, pooled in streams[0].shards_from(k * global_batch, (k + 1) * global_batch):
            of_source: dict[int, list[int]] = {}
            for source, shard in (owners[number] for number in pooled):
                of_source.setdefault(source, []).append(shard)
            needed += [NeededShards(epoch, i, tuple(of_source[i])) for i in sorted(of_source)]
        return needed
    shares = count_shares(weights)
    first, stop = (drawn_before(step * global_batch, shares, seed) for step in (k, k + 1))
    return [
        NeededShards(epoch, i, tuple(numbers))
        for i, stream in enumerate(streams)
        for epoch, numbers in stream.shards_from(first[i], stop[i])
    ]


@dataclass(frozen=True)
class _Stream:
    """Rows that have epochs of their own: the pool, or one source of a mixture."""

    rows: int
    shards: tuple[int, ...]
    window: int | None
    key: NDArray[np.uint64]

    def rows_at(self, drawn: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch and the row of the n-th draws from this stream."""
        epochs, places = np.divmod(drawn, self.rows)
        rows = np.empty_like(places)
        for epoch in np.unique(epochs).tolist():
            of_epoch = epochs == epoch
            rows[of_epoch] = (
                permute(places[of_epoch], self.rows, fold(self.key, epoch))
                if self.window is None
                else self._windows(epoch).rows_at(places[of_epoch])
            )
        return epochs, rows

    def shards_from(self, first: int, stop: int) -> list[tuple[int, list[int]]]:
        """(epoch, shards) of each window that draws ``first`` … ``stop`` - 1 fall into; if that is
        one only, also of the next window with rows."""
        if self.window is None:
            epochs = range(first // self.rows, max(first, stop - 1) // self.rows + 2)
            return [(epoch, list(range(len(self.shards)))) for epoch in epochs]
        epoch, place = divmod(first, self.rows)
        last_epoch, last_place = divmod(max(first, stop - 1), self.rows)
        number = int(self._windows(epoch).windows_at(np.array([place]))[0])
        last = int(self._windows(last_epoch).windows_at(np.array([last_place]))[0])
        needed: list[tuple[int, list[int]]] = []
        while True:
            windows = self._windows(epoch)
            if not windows.is_empty(number):
                is_next = (epoch, number) > (last_epoch, last)
                if not is_next or len(needed) == 1:
                    needed.append((epoch, windows.shards_of(number)))
                if is_next:
                    return needed
            epoch, number = (epoch, number + 1) if number + 1 < len(windows) else (epoch + 1, 0)

    def _windows(self, epoch: int) -> EpochWindows:
        assert self.window is not None
        return epoch_windows(self.shards, self.window, int(fold(self.key, epoch)[()]))


def _streams(
    rows_per_source: Sequence[int],
    weights: Sequence[float] | None,
    seed: int,
    shards: Sequence[Sequence[int]] | None,
    window: int | None,
) -> list[_Stream]:
    key = purpose_key(seed, "row order")
    if weights is None:
        pooled = tuple(count for source in shards or () for count in source)
        return [_Stream(sum(rows_per_source), pooled, window, key)]
    return [
        _Stream(rows, tuple(shards[i]) if shards else (), window, fold(key, i))
        for i, rows in enumerate(rows_per_source)
    ]

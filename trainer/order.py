"""Which rows make up training step k: a pure function, without state and without a shuffle buffer.

Every epoch is a keyed permutation of all rows, evaluated only at the places that a step needs, so
step 1,000,000 costs as much as step 0, and a resumed run needs nothing but its step number.
Invariants: each row exactly once an epoch; the rows of a step do not depend on the number of hosts.

The permutation is a Feistel network over the smallest power of two that holds all rows (Luby and
Rackoff 1988); what falls outside is sent through again, "cycle walking" (Black and Rogaway 2002).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.keyed_random import fold, mix, purpose_key, uniform

_FEISTEL_ROUNDS = 8
# A mixture's proportions are exact in every stretch of this many rows.
MIXTURE_ROUND = 1 << 14


def step_rows(
    k: int,
    *,
    rows_per_source: Sequence[int],
    weights: Sequence[float] | None = None,
    seed: int,
    global_batch: int,
    host: int = 0,
    hosts: int = 1,
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

    Returns:
        ``epoch``, ``source`` and ``row`` within the source, int64[global_batch / hosts] each.

    Raises:
        UserError: a batch that the hosts cannot share evenly, or weights that are no shares.
    """
    if global_batch % hosts:
        raise UserError(f"batch_size {global_batch} cannot be shared evenly by {hosts} processes")
    part = global_batch // hosts
    start = k * global_batch + host * part
    positions = np.arange(start, start + part, dtype=np.int64)
    rows = np.asarray(rows_per_source, np.int64)
    key = purpose_key(seed, "row order")
    if weights is None:
        ends = np.cumsum(rows)
        epoch, place = np.divmod(positions, ends[-1])
        pooled = _permute_by_epoch(place, epoch, int(ends[-1]), key)
        source = np.searchsorted(ends, pooled, side="right")
        return epoch, source, pooled - (ends - rows)[source]
    source, drawn = _mixture_at(positions, count_shares(weights), seed)
    epoch, place = np.divmod(drawn, rows[source])
    row = np.empty_like(place)
    for i in range(len(rows)):
        of_source = source == i
        row[of_source] = _permute_by_epoch(
            place[of_source], epoch[of_source], int(rows[i]), fold(key, i)
        )
    return epoch, source, row


def permute(places: NDArray[np.int64], size: int, key: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a keyed random permutation of ``range(size)`` sends each of the given places."""
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


def _permute_by_epoch(
    places: NDArray[np.int64], epochs: NDArray[np.int64], size: int, key: NDArray[np.uint64]
) -> NDArray[np.int64]:
    rows = np.empty_like(places)
    for epoch in np.unique(epochs):
        of_epoch = epochs == epoch
        rows[of_epoch] = permute(places[of_epoch], size, fold(key, epoch))
    return rows


def count_shares(weights: Sequence[float]) -> tuple[int, ...]:
    """How many rows of every ``MIXTURE_ROUND`` each source gives (largest remainders, at least 1).

    Raises UserError for weights that are not positive numbers.
    """
    shares = np.asarray(weights, np.float64)
    if not (np.isfinite(shares).all() and (shares > 0).all()):
        raise UserError(f"mixture weights {list(weights)}: every weight must be a positive number")
    exact = shares / shares.sum() * MIXTURE_ROUND
    counts = np.maximum(np.floor(exact), 1).astype(np.int64)
    missing = MIXTURE_ROUND - int(counts.sum())
    if missing < 0:
        counts[np.argmax(counts)] += missing
    else:
        counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return tuple(counts.tolist())


def _mixture_at(
    positions: NDArray[np.int64], counts: tuple[int, ...], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each position of the endless mixture: its source and how many rows of it came before."""
    rounds, slots = np.divmod(positions, MIXTURE_ROUND)
    source = np.empty_like(positions)
    drawn = np.empty_like(positions)
    for number in np.unique(rounds):
        of_round = rounds == number
        sources, ranks = _mixture_round(int(number), counts, seed)
        source[of_round] = sources[slots[of_round]]
        drawn[of_round] = ranks[slots[of_round]] + number * np.asarray(counts)[source[of_round]]
    return source, drawn


@lru_cache(maxsize=4)
def _mixture_round(
    number: int, counts: tuple[int, ...], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One round: the source of each slot, and its rank among the slots of the same source.

    The j-th row of a source with c rows falls at a keyed random moment within [j/c, (j+1)/c), so
    the proportions hold in every stretch, not only on average.
    """
    sources = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([np.arange(count) for count in counts])
    draws = uniform(fold(purpose_key(seed, "mixture order"), number, sources, ranks))
    order = np.argsort((ranks + draws) / np.asarray(counts)[sources], kind="stable")
    return sources[order], ranks[order]

"""Groups of texts that are nearly the same, from signatures of their shingles.

By MinHash (Broder 1997, "On the resemblance and containment of documents") with candidates from
bands of hash functions (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4): two texts
belong together where the estimated Jaccard similarity of their shingles is at least ``SIMILARITY``;
groups are the connected components.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, mix, purpose_key
from pipelines.records.ragged import Ragged, offsets_of

# 8 bands of 4 hash functions over runs of three words.
HASHES, BAND, SHINGLE, SIMILARITY = 32, 4, 3, 0.6
_ROWS_AT_ONCE = 8192


def group_signatures(signatures: NDArray[np.uint64]) -> NDArray[np.int64]:
    """int64[n]: for each text of signatures uint64[n, HASHES] the first text of its group."""
    group = np.arange(len(signatures))
    if not len(signatures):
        return group
    for first in range(0, HASHES, BAND):
        rotated = np.roll(signatures, -first, axis=1)
        band = fold(0, *rotated[:, :BAND].T)
        # Neighbours within a bucket are compared; the next columns bring the most alike together.
        order = np.lexsort((*rotated[:, BAND : 2 * BAND].T, band))
        left, right = order[:-1], order[1:]
        alike = (signatures[left] == signatures[right]).mean(axis=1) >= SIMILARITY
        alike &= band[left] == band[right]
        _join(group, left[alike], right[alike])
    return group


def sign_token_rows(rows: Ragged) -> NDArray[np.uint64]:
    """Signatures uint64[n, HASHES] of n rows of token ids, from their runs of three tokens."""
    signatures = np.empty((len(rows), HASHES), np.uint64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(rows))
        part = rows.take(np.arange(start, stop))
        signatures[start:stop] = _sign(part)
    return signatures


def _sign(rows: Ragged) -> NDArray[np.uint64]:
    # Filled up at the end, so that every row has a shingle and none reaches into the next.
    starts = offsets_of(rows.lengths + SHINGLE)
    keys = np.zeros(starts[-1], np.uint64)
    filling = np.ones(len(keys), np.bool_)
    places = np.arange(len(rows.values)) + np.repeat(starts[:-1] - rows.offsets[:-1], rows.lengths)
    keys[places] = rows.values.astype(np.uint64) + np.uint64(1)
    filling[places] = False
    filling[starts[:-1]] = False
    shingles = keys.copy()
    for k in range(1, SHINGLE):
        shingles[:-k] = mix(shingles[:-k]) ^ keys[k:]
    signatures = np.empty((len(rows), HASHES), np.uint64)
    for column in range(HASHES):
        draws = mix(shingles ^ fold(purpose_key(0, "token shingles"), column))
        draws[filling] = np.iinfo(np.uint64).max
        signatures[:, column] = np.minimum.reduceat(draws, starts[:-1])
    return signatures


def _join(group: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Merges, in place, the groups of each pair; a group goes by its smallest member."""
    while True:
        before = group.copy()
        low = np.minimum(group[left], group[right])
        for side in (left, right):
            np.minimum.at(group, before[side], low)
            np.minimum.at(group, side, low)
        np.minimum(group, group[group], out=group)
        if np.array_equal(group, before):
            return

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
    from scipy.sparse import coo_array  # only here: it takes a moment to load
    from scipy.sparse.csgraph import connected_components

    pairs = [np.zeros((2, 0), np.int64)]
    for first in range(0, HASHES, BAND):
        rotated = np.roll(signatures, -first, axis=1)
        band = fold(0, *rotated[:, :BAND].T)
        # Neighbours within a bucket are compared; the next columns bring the most alike together.
        order = np.lexsort((*rotated[:, BAND : 2 * BAND].T, band))
        left, right = order[:-1], order[1:]
        alike = (signatures[left] == signatures[right]).mean(axis=1) >= SIMILARITY
        alike &= band[left] == band[right]
        pairs.append(np.stack([left[alike], right[alike]]))
    edges = np.concatenate(pairs, axis=1)
    shape = (len(signatures), len(signatures))
    graph = coo_array((np.ones(edges.shape[1], np.int8), tuple(edges)), shape)
    _, labels = connected_components(graph, directed=False)
    _, first_members = np.unique(labels, return_index=True)
    return first_members[labels]


def sign_token_rows(rows: Ragged) -> NDArray[np.uint64]:
    """Signatures uint64[n, HASHES] of n rows of token ids, from their runs of three tokens."""
    signatures = np.empty((len(rows), HASHES), np.uint64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(rows))
        block = rows.take(np.arange(start, stop))
        keys = Ragged(block.values.astype(np.uint64) + np.uint64(1), block.offsets)
        signatures[start:stop] = sign_keys(keys, filling=0, purpose="token shingles")
    return signatures


def sign_keys(rows: Ragged, *, filling: int, purpose: str) -> NDArray[np.uint64]:
    """Signatures uint64[n, HASHES] of n rows of uint64 keys, from their runs of three keys.

    ``filling`` is no row's key. ``purpose`` names the hash functions.
    """
    # Filled up at the end, so that every row has a shingle and none reaches into the next.
    starts = offsets_of(rows.lengths + SHINGLE)
    keys = np.full(starts[-1], filling, np.uint64)
    targets = np.arange(len(rows.values)) + np.repeat(starts[:-1] - rows.offsets[:-1], rows.lengths)
    keys[targets] = rows.values
    is_filling = keys == np.uint64(filling)
    is_filling[starts[:-1]] = False
    shingles = keys.copy()
    for k in range(1, SHINGLE):
        shingles[:-k] = mix(shingles[:-k]) ^ keys[k:]
    signatures = np.empty((len(rows), HASHES), np.uint64)
    for column in range(HASHES):
        draws = mix(shingles ^ fold(purpose_key(0, purpose), column))
        draws[is_filling] = np.iinfo(np.uint64).max
        signatures[:, column] = np.minimum.reduceat(draws, starts[:-1])
    return signatures

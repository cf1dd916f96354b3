"""A keyed random permutation of 0 … n - 1, evaluated only at the places asked for.

A Feistel network over the smallest power of two that holds n (Luby and Rackoff 1988); what falls
outside is sent through again, "cycle walking" (Black and Rogaway 2002). Nothing of size n is ever
in memory, and a place costs the same whatever n is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, mix

_FEISTEL_ROUNDS = 8


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

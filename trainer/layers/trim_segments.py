"""How many tokens of each segment fit into a row: the two rules of KerasNLP's packers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRUNCATIONS = ("round_robin", "waterfall")


def trimmed_lengths(lengths: NDArray[np.int64], budget: int, truncate: str) -> NDArray[np.int64]:
    """The lengths to keep, at most ``budget`` in sum for each row.

    ``round_robin`` hands out one token at a time to each segment that still has some, first segment
    first; ``waterfall`` fills the segments from left to right.

    Args:
        lengths: int64[rows, segments].
        budget: tokens for each row; below 0 counts as 0.
        truncate: one of ``TRUNCATIONS``.

    Returns:
        int64[rows, segments]. Of lengths 6 and 4 and a budget of 5, round_robin keeps 3 and 2,
        waterfall 5 and 0.
    """
    budget = max(budget, 0)
    if truncate == "waterfall":
        before = np.cumsum(lengths, axis=1) - lengths
        return np.minimum(lengths, np.maximum(budget - before, 0))
    if truncate != "round_robin":
        raise ValueError(f"truncate must be one of {', '.join(TRUNCATIONS)}, not {truncate!r}")
    # The number of full rounds is at most the budget: bisect it for all rows at once.
    low = np.zeros((len(lengths), 1), np.int64)
    high = np.full((len(lengths), 1), budget, np.int64)
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = np.minimum(lengths, middle).sum(axis=1, keepdims=True) <= budget
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    kept = np.minimum(lengths, low)
    left_over = budget - kept.sum(axis=1, keepdims=True)
    is_cut = lengths > kept
    return kept + (is_cut & (np.cumsum(is_cut, axis=1) <= left_over))

"""Which positions of each row the masked language model has to predict: single tokens.

Every position has a random 32-bit number of its own; the positions with the smallest numbers are
chosen, so each set of ``budget`` selectable positions is equally likely. Ties go to the earlier
position, which keeps the choice independent of how a sort happens to be implemented.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select_tokens(
    draws: NDArray[np.uint32], selectable: NDArray[np.bool_], budgets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Chooses exactly ``budgets[i]`` of the selectable positions of row i.

    Args:
        draws: uint32[R, L], a random number for each position.
        selectable: bool[R, L].
        budgets: int64[R], at most the number of selectable positions of each row.

    Returns:
        int64[sum(budgets)], sorted indices into the flattened [R * L] rows.
    """
    # All ones where a position is not selectable: never among the smallest.
    keys = (~selectable).astype(np.uint32)
    np.negative(keys, out=keys)
    keys |= draws
    ranked = np.sort(keys, axis=1)
    rows = np.arange(len(keys))
    limits = np.where(budgets > 0, ranked[rows, budgets - 1], 0).astype(np.uint32)
    chosen = keys <= limits[:, None]
    indices = np.flatnonzero(chosen)
    if len(indices) == budgets.sum():
        return indices
    # Equal numbers at the limit (or a draw of 0 or 2**32 - 1): about one row in ten million.
    for row in np.flatnonzero(np.count_nonzero(chosen, axis=1) != budgets):
        candidates = np.flatnonzero(selectable[row])
        order = np.argsort(draws[row, candidates], kind="stable")
        chosen[row] = False
        chosen[row, candidates[order[: budgets[row]]]] = True
    return np.flatnonzero(chosen)

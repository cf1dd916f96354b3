"""Which positions of each row the masked language model has to predict: tokens, words or spans.

Every position has a random 32-bit number of its own. Single tokens: those with the smallest numbers,
so each set of ``budget`` selectable positions is equally likely. Words and spans ("units"): taken in
the order of the numbers of their first positions while they fit the row's budget, as
google-research/bert does with words, and with the same small preference for short words, which more
often fit at the end. Where all units are single positions both choose the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.mask.words import Units

_NO_UNIT = np.uint64(0xFFFFFFFFFFFFFFFF)
_DRAW_SHIFT = np.uint64(32)
_NUMBER_BITS = np.uint64(0xFFFFFFFF)
_WINDOW = 16


def select_tokens(
    draws: NDArray[np.uint32], selectable: NDArray[np.bool_], budgets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Chooses exactly ``budgets[i]`` of the selectable positions of row i; draws are [R, L].

    Ties go to the earlier position, so the choice does not depend on how a sort is implemented.
    Returns int64[sum(budgets)], sorted indices into the flattened [R * L] rows.
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


def select_units(
    units: Units,
    draws: NDArray[np.uint32],
    budgets: NDArray[np.int64],
    word_starts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Takes each row's units in the order of the draws [R, L] of their first positions.

    A unit that does not fit into what is left of the row's budget is cut at a word (``word_starts``
    int64[W], sorted) to what does, if at least its first word fits, and else passed over. So a row
    gets at most its budget, and less only where none of its remaining words fits. Returns the chosen
    positions and, for each, the first position of its unit: both int64[T], sorted indices into the
    flattened [R * L] rows.
    """
    rows, row_length = draws.shape
    row_firsts = np.searchsorted(units.starts, np.arange(rows) * row_length)
    counts = np.diff(row_firsts, append=len(units.starts))
    order = draws.reshape(-1)[units.starts]
    # The units that are early in the order (twice as many as the budgets need) settle most rows.
    share = 2 * budgets.sum() / max(1, units.lengths.sum())
    early = np.flatnonzero(order < np.uint32(min(1.0, share) * 0xFFFFFFFF))
    early_counts = np.diff(np.searchsorted(early, row_firsts), append=len(early))
    taken, lengths, left = _take_in_order(early, early_counts, order, units, budgets, word_starts)
    unsettled = (left > 0) & (early_counts < counts)
    if unsettled.any():
        again = np.repeat(unsettled, counts)
        settled = ~again[taken]
        more, more_lengths, _ = _take_in_order(
            np.flatnonzero(again), counts * unsettled, order, units, budgets, word_starts
        )
        taken = np.concatenate([taken[settled], more])
        lengths = np.concatenate([lengths[settled], more_lengths])
    in_place = np.argsort(taken)
    lengths = lengths[in_place]
    leaders = np.repeat(units.starts[taken[in_place]], lengths)
    offsets = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return leaders + (np.arange(len(leaders)) - offsets), leaders


def _take_in_order(
    candidates: NDArray[np.int64],
    counts: NDArray[np.int64],
    order: NDArray[np.uint32],
    units: Units,
    budgets: NDArray[np.int64],
    word_starts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """``select_units`` among the candidates: numbers of units, sorted, ``counts[i]`` of row i.

    Returns the numbers of the units taken (in no order), the length that each is cut to, and what
    is left of each row's budget.
    """
    # Each row's (draw, number of the unit) pairs, sorted, are its random order.
    width = int(counts.max(initial=0)) + _WINDOW
    used = np.arange(width) < counts[:, None]
    ranked = np.full((len(counts), width), _NO_UNIT)
    pairs = (order[candidates].astype(np.uint64) << _DRAW_SHIFT) | candidates.astype(np.uint64)
    ranked.reshape(-1)[np.flatnonzero(used)] = pairs
    ranked.sort(axis=1)
    ranked &= _NUMBER_BITS

    # All units before the first that does not fit; no more of them than the largest budget.
    head = np.where(used, ranked, 0)[:, : budgets.max(initial=0)].astype(np.int64)
    reached = np.cumsum(units.lengths[head], axis=1)
    fits = (reached <= budgets[:, None]) & used[:, : head.shape[1]]
    passed = np.add.reduce(fits, axis=1, dtype=np.int32)
    left = budgets.copy()
    some = np.flatnonzero(passed)
    left[some] -= reached[some, passed[some] - 1]
    taken = [head[fits]]
    lengths = [units.lengths[taken[0]]]

    # Then, in the same order, whatever still fits, in the rows with budget left.
    active = np.flatnonzero((left > 0) & (passed < counts))
    while len(active):
        columns = passed[active, None] + np.arange(_WINDOW)
        real = used[active[:, None], columns]
        nexts = np.where(real, ranked[active[:, None], columns], 0).astype(np.int64)
        fits = (units.shortest[nexts] <= left[active, None]) & real
        any_fits = fits.any(axis=1)
        which = fits.argmax(axis=1)
        passed[active] += np.where(any_fits, which + 1, _WINDOW).astype(np.int32)
        row = active[any_fits]
        unit = nexts[any_fits, which[any_fits]]
        length = np.minimum(units.lengths[unit], left[row])
        cut = np.flatnonzero(length < units.lengths[unit])
        ends = units.starts[unit[cut]] + length[cut]
        last_words = word_starts[np.searchsorted(word_starts, ends, side="right") - 1]
        length[cut] = last_words - units.starts[unit[cut]]
        left[row] -= length
        taken.append(unit)
        lengths.append(length)
        active = active[(left[active] > 0) & (passed[active] < counts[active])]
    return np.concatenate(taken), np.concatenate(lengths), left

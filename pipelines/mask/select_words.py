"""Which positions of each row the masked language model has to predict: whole words and spans.

A unit is a run of positions that is chosen together: a word (``find_words``) or a span of whole
words (``join_words``). ``select_units`` takes units in random order while they fit the row's
budget; each unit's place in the order is the random number of its first position.

Sources: whole words as in google-research/bert's ``create_masked_lm_predictions``; span lengths
as in SpanBERT (Joshi et al. 2020, section 3.1): geometric with p = 0.2 over 1 to 10 words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NO_UNIT = np.uint64(0xFFFFFFFFFFFFFFFF)
_DRAW_SHIFT = np.uint64(32)
_NUMBER_BITS = np.uint64(0xFFFFFFFF)
_WINDOW = 16

# SpanBERT's lengths in words: chances proportional to 0.8 ** (length - 1), here as exact integers
# so that the thresholds on 32-bit draws are the same on every machine.
LONGEST_SPAN = 10
_SPAN_CHANCES = [4**i * 5 ** (LONGEST_SPAN - 1 - i) for i in range(LONGEST_SPAN)]
_SPAN_LIMITS = [
    (sum(_SPAN_CHANCES[: i + 1]) << 32) // sum(_SPAN_CHANCES) for i in range(LONGEST_SPAN - 1)
]


@dataclass(frozen=True)
class Units:
    """Runs of positions, in order; all arrays int64[U].

    ``starts``: index of the first position in the flattened [R * L] rows; ``lengths``: positions
    in the run; ``shortest``: how short the run may be cut (its first word's length).
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    shortest: NDArray[np.int64]


def find_words(
    token_ids: NDArray[np.int32],
    selectable: NDArray[np.bool_],
    is_continuation: NDArray[np.bool_],
    document_ids: NDArray[np.int32] | None,
) -> Units:
    """The words of all rows: a selectable position and the continuation pieces after it.

    A word ends before the next piece that starts one, before a position that is not selectable,
    at the end of its document and at the end of the row. A continuation piece with nothing to
    continue is a word of its own.

    Args:
        token_ids: int32[R, L]; selectable: bool[R, L]; is_continuation: bool[vocabulary].
        document_ids: int32[R, L] or None for one document a row.
    """
    row_length = token_ids.shape[1]
    can = selectable.reshape(-1)
    # Breaks: where a word starts, and every position that is not selectable.
    breaks = is_continuation.take(token_ids.reshape(-1), mode="clip")
    np.logical_and(breaks, can, out=breaks)
    np.logical_not(breaks, out=breaks)
    breaks[1:] |= ~can[:-1]
    breaks[::row_length] = True
    if document_ids is not None:
        documents = document_ids.reshape(-1)
        breaks[1:] |= documents[1:] != documents[:-1]
    indices = np.flatnonzero(breaks)
    are_words = np.flatnonzero(can[indices])
    starts = indices[are_words]
    lengths = np.append(indices, breaks.size)[are_words + 1] - starts
    return Units(starts, lengths, lengths)


def join_words(
    words: Units,
    row_length: int,
    document_ids: NDArray[np.int32] | None,
    span_words: NDArray[np.int64],
) -> Units:
    """Cuts the rows' words into consecutive spans of ``span_words[i, 0]``, ``[i, 1]``, … words.

    A span also ends where the next word does not follow on (a position that is not selectable
    lies between) or belongs to another document. SpanBERT instead draws spans that may overlap
    and keeps their union; consecutive spans chosen in random order have exactly the lengths drawn.

    Args:
        words: of rows of ``row_length`` positions.
        document_ids: int32[R, row_length] or None.
        span_words: int64[R, K] positive; each row's sum is at least its number of words.
    """
    if not len(words.starts):
        return words
    row_starts = np.arange(len(span_words)) * row_length
    row_firsts = np.searchsorted(words.starts, row_starts)
    row_ends = np.append(row_firsts[1:], len(words.starts))
    cuts = np.zeros(len(words.starts) + 1, np.bool_)
    np.not_equal(words.starts[1:], words.starts[:-1] + words.lengths[:-1], out=cuts[1:-1])
    cuts[row_firsts] = True
    if document_ids is not None:
        documents = document_ids.reshape(-1)
        changes = np.flatnonzero(documents[1:] != documents[:-1]) + 1
        cuts[np.searchsorted(words.starts, changes)] = True
    span_firsts = row_firsts[:, None] + np.cumsum(span_words, axis=1) - span_words
    cuts[span_firsts[span_firsts < row_ends[:, None]]] = True
    firsts = np.flatnonzero(cuts[:-1])
    lasts = np.append(firsts[1:], len(words.starts)) - 1
    starts = words.starts[firsts]
    lengths = words.starts[lasts] + words.lengths[lasts] - starts
    return Units(starts, lengths, words.lengths[firsts])


def span_lengths(draws: NDArray[np.uint32]) -> NDArray[np.int64]:
    """A span length in words, 1 to ``LONGEST_SPAN``, for each 32-bit draw; the same shape."""
    lengths = np.ones(draws.shape, np.uint8)
    for limit in _SPAN_LIMITS:
        lengths += draws >= np.uint32(limit)
    return lengths.astype(np.int64)


def select_units(
    units: Units,
    draws: NDArray[np.uint32],
    budgets: NDArray[np.int64],
    word_starts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Takes each row's units in random order while they fit into what is left of its budget.

    A unit that does not fit is cut to the words that do, if it has a first word that does
    (``Units.shortest``), and else passed over. So a row gets at most its budget, and less only
    where no word that is left fits any more.

    Args:
        units: of all rows, in order.
        draws: uint32[R, L]; a unit's place in its row's order is the draw of its first position.
        budgets: int64[R], positions.
        word_starts: int64[W], sorted: where units may be cut (flattened indices).

    Returns:
        The chosen positions and, for each, the first position of its unit: both int64[T], sorted
        indices into the flattened [R * L] rows.
    """
    rows, row_length = draws.shape
    row_firsts = np.searchsorted(units.starts, np.arange(rows) * row_length)
    counts = np.diff(row_firsts, append=len(units.starts))
    order = draws.reshape(-1)[units.starts]
    # The units that are early in the order (twice as many as the budgets need) settle most rows.
    share = 2 * budgets.sum() / max(1, units.lengths.sum())
    early = np.flatnonzero(order < np.uint32(min(1.0, share) * 0xFFFFFFFF))
    early_firsts = np.searchsorted(early, row_firsts)
    early_counts = np.diff(early_firsts, append=len(early))
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
    fit = (reached <= budgets[:, None]) & used[:, : head.shape[1]]
    passed = np.add.reduce(fit, axis=1, dtype=np.int32)
    left = budgets.copy()
    some = np.flatnonzero(passed)
    left[some] -= reached[some, passed[some] - 1]
    taken = [head[fit]]
    lengths = [units.lengths[taken[0]]]

    # Then, in the same order, whatever still fits, in the rows with budget left.
    active = np.flatnonzero((left > 0) & (passed < counts))
    while len(active):
        columns = passed[active, None] + np.arange(_WINDOW)
        real = used[active[:, None], columns]
        nexts = np.where(real, ranked[active[:, None], columns], 0).astype(np.int64)
        fit = (units.shortest[nexts] <= left[active, None]) & real
        found = fit.any(axis=1)
        which = fit.argmax(axis=1)
        passed[active] += np.where(found, which + 1, _WINDOW).astype(np.int32)
        row = active[found]
        unit = nexts[found, which[found]]
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

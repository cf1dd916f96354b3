"""Cuts rows into what is chosen together: words, and spans of consecutive words.

Sources: whole words as in google-research/bert's ``create_masked_lm_predictions``; span lengths
as in SpanBERT (Joshi et al. 2020, section 3.1): geometric with p = 0.2 over 1 to 10 words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, halves

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


def draw_numbers(keys: NDArray[np.uint64], number: int) -> NDArray[np.uint32]:
    """``number`` 32-bit draws per key: uint32[len(keys), number]; draw i depends on i alone."""
    return halves(fold(keys[:, None], np.arange((number + 1) // 2)))[:, :number]


def find_words(
    token_ids: NDArray[np.int32],
    selectable: NDArray[np.bool_],
    is_continuation: NDArray[np.bool_],
    document_ids: NDArray[np.int32] | None,
) -> Units:
    """The words of all rows [R, L]: a selectable position and the continuation pieces after it.

    A word ends before the next piece that starts one, before a position that is not selectable,
    at the end of its document and at the end of the row. A continuation piece with nothing to
    continue is a word of its own. ``is_continuation`` is bool[vocabulary].
    """
    can = selectable.reshape(-1)
    # Breaks: where a word starts, and every position that is not selectable.
    breaks = ~(is_continuation.take(token_ids.reshape(-1), mode="clip") & can)
    breaks[1:] |= ~can[:-1]
    breaks[:: token_ids.shape[1]] = True
    if document_ids is not None:
        documents = document_ids.reshape(-1)
        breaks[1:] |= documents[1:] != documents[:-1]
    indices = np.flatnonzero(breaks)
    are_words = np.flatnonzero(can[indices])
    starts = indices[are_words]
    lengths = np.append(indices, breaks.size)[are_words + 1] - starts
    return Units(starts, lengths, lengths)


def draw_spans(
    words: Units,
    row_length: int,
    document_ids: NDArray[np.int32] | None,
    keys: NDArray[np.uint64],
) -> Units:
    """Cuts the words of R rows into spans of lengths drawn with each row's key (uint64[R])."""
    most_words = np.bincount(words.starts // row_length, minlength=1).max()
    # Enough spans for every row: usually the mean length of 3.8 words decides, at worst 1 does.
    number = most_words // 3 + 8
    while True:
        lengths = span_lengths(draw_numbers(keys, number))
        if number >= most_words or lengths.sum(axis=1).min() >= most_words:
            return join_words(words, row_length, document_ids, lengths)
        number *= 2


def join_words(
    words: Units,
    row_length: int,
    document_ids: NDArray[np.int32] | None,
    span_words: NDArray[np.int64],
) -> Units:
    """Cuts the words of row i into consecutive spans of ``span_words[i, 0]``, ``[i, 1]``, … words.

    A span also ends before a position that is not selectable and at the end of its document.
    SpanBERT instead draws spans that may overlap and keeps their union; consecutive spans chosen in
    random order have exactly the lengths drawn. Each row of ``span_words`` int64[R, K], positive,
    adds up to at least the row's number of words.
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

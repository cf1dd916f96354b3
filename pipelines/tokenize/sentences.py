"""Where sentences begin, from token ids alone: spaces, lines and often case are gone by then.

A sentence ends after a run of end marks and closing quotes or brackets that holds an end mark
('.', '!', '?', '。', ...). A full stop after a title ("mr .") or a single Latin letter ("u . s .")
and one between digits ("3 . 14") ends nothing; nor, in a vocabulary with case, does one before a
small letter. Missing an end is harmless (a longer sentence); nothing here changes tokens.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Ragged

_END, _STOP, _CLOSE, _QUOTE, _ABBREVIATED, _DIGIT, _SMALL = (1 << bit for bit in range(7))

_MARKS = {
    **dict.fromkeys("!?…。！？｡؟۔।॥։።၊။᠃᠉‼⁇⁈⁉", _END),
    **dict.fromkeys(".．", _STOP),
    **dict.fromkeys(")]}'’”»›）］｝〕〉》」』】〙〗｣", _CLOSE),
    '"': _QUOTE,
}
_TITLES = {"mr", "mrs", "ms", "dr", "prof", "st", "vs", "jr", "sr", "rev", "gen", "col", "capt"}


@lru_cache(maxsize=1)
def mark_vocabulary(pieces: tuple[str, ...]) -> NDArray[np.uint8]:
    """What each token of a vocabulary means for sentence ends: uint8[vocabulary] of bit flags.

    ``pieces`` are the vocabulary's strings in the order of their ids.
    """
    with_case = "A" in pieces
    marks = np.zeros(len(pieces), np.uint8)
    for token_id, piece in enumerate(pieces):
        flags = _MARKS.get(piece, 0)
        if piece.removeprefix("##").isdecimal():
            flags = _DIGIT
        elif piece.lower() in _TITLES or (len(piece) == 1 and "a" <= piece.lower() <= "z"):
            flags = _ABBREVIATED
        if with_case and piece[:1].islower():
            flags |= _SMALL
        marks[token_id] = flags
    return marks


def find_sentences(documents: Ragged, marks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The positions among all token ids where a sentence begins: int64[S], ascending.

    ``marks``: see ``mark_vocabulary``. Every document with a token begins a sentence. The straight
    quote closes when it is the second, fourth, ... of its document.
    """
    flags = marks[documents.values]
    filled = documents.lengths > 0
    begins, ends = documents.offsets[:-1][filled], documents.offsets[1:][filled]
    tail = np.flatnonzero(flags & (_END | _STOP | _CLOSE | _QUOTE))

    kind = flags[tail]
    quotes = np.flatnonzero(kind & _QUOTE)
    earlier = np.searchsorted(tail[quotes], begins)  # quotes before each document
    owner = np.searchsorted(begins, tail[quotes], side="right") - 1
    opens = (np.arange(len(quotes)) - earlier[owner]) % 2 == 0
    tail, kind = np.delete(tail, quotes[opens]), np.delete(kind, quotes[opens])
    if not len(tail):
        return begins

    owner = np.searchsorted(begins, tail, side="right") - 1
    is_first, is_last = tail == begins[owner], tail + 1 == ends[owner]
    before = np.where(is_first, 0, flags[tail - 1])
    after = np.where(is_last, 0, flags[np.minimum(tail + 1, len(flags) - 1)])
    stops = (kind & _STOP > 0) & (before & _ABBREVIATED == 0) & (before & after & _DIGIT == 0)
    exclaims = kind & _END > 0

    # A run of marks ends a sentence if any of them does; the next token begins the next one.
    run_begins = np.flatnonzero((np.diff(tail, prepend=-2) > 1) | is_first)
    last = np.append(run_begins[1:], len(tail)) - 1
    stopped = np.logical_or.reduceat(stops, run_begins) & (after[last] & _SMALL == 0)
    ended = stopped | np.logical_or.reduceat(exclaims, run_begins)
    follows = ended & ~is_last[last]
    return np.sort(np.append(begins, tail[last[follows]] + 1), kind="stable")

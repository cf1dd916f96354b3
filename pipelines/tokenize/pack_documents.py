"""Packing ``documents``: whole documents, best-fit decreasing, several to a row.

A document longer than a row is cut into full segments and a remainder; one that fits is never
cut (unless ``split_to_fill``, see fill_gaps). Each segment is ``[CLS] tokens [SEP]``, exactly as
it would stand alone, so that with attention kept inside it and positions restarting, being packed
changes nothing. Best-fit over counts per length, as in Krell et al. 2021 ("Efficient sequence
packing without cross-contamination", section 3): all segments of one length are placed at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.columns import offsets_of
from pipelines.tokenize.fill_gaps import fill_gaps
from pipelines.tokenize.pieces import Documents, Pieces


def fit_documents(
    documents: Documents, seq_length: int, *, split_to_fill: bool, seed: int
) -> Pieces:
    """Chooses a row for every segment of every document; rows hold at most ``seq_length`` tokens.

    Segments of equal length are taken in keyed random order, so which of them share a row is
    random and independent of the order of the documents.
    """
    capacity = seq_length - 2
    lengths = documents.lengths
    counts = -(-lengths // capacity)
    document = np.repeat(np.arange(len(lengths)), counts)
    start = (np.arange(len(document)) - np.repeat(offsets_of(counts)[:-1], counts)) * capacity
    length = np.minimum(lengths[document] - start, capacity)

    shuffled = np.argsort(documents.keys(seed, "packing", document, start), kind="stable")
    decreasing = shuffled[
        np.argsort((capacity - length[shuffled]).astype(np.uint16), kind="stable")
    ]
    row = fit_decreasing(length[decreasing] + 2, seq_length)
    chosen = decreasing[np.argsort(row, kind="stable")]
    pieces = Pieces(
        document=document[chosen],
        start=start[chosen],
        length=length[chosen],
        row=np.sort(row, kind="stable"),
        leads=np.ones(len(chosen), np.bool_),
    )
    if split_to_fill:
        pieces = fill_gaps(pieces, lengths > capacity, seq_length)
    return pieces


def fit_decreasing(sizes: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """Best-fit: each item goes to the fullest bin that still has room for it, else to a new one.

    ``sizes`` int64[m], decreasing, in 1..capacity. Returns int64[m], the bin of each item, numbered
    in the order of opening. The same bins as item-by-item best fit, except which of two equally
    full bins is taken; the number of steps is bounded by m and by capacity**2 / 2.

    ``fit_decreasing([7, 6, 3, 3, 2], 10)`` is ``[0, 1, 0, 1, 2]``.
    """
    bins = np.empty(len(sizes), np.int64)
    shelves: list[list[NDArray[np.int64]]] = [[] for _ in range(capacity + 1)]  # by room left
    rooms = 0  # bit r is set where shelves[r] holds a bin
    opened = 0
    counts = np.bincount(sizes, minlength=1)
    at = 0
    for size in np.flatnonzero(counts)[::-1].tolist():
        end = at + int(counts[size])
        while at < end:
            fitting = rooms >> size
            if fitting:
                room = size + (fitting & -fitting).bit_length() - 1
                taken = shelves[room].pop()
                if len(taken) > end - at:
                    shelves[room].append(taken[end - at :])
                    taken = taken[: end - at]
                elif not shelves[room]:
                    rooms ^= 1 << room
                bins[at : at + len(taken)] = taken
                at += len(taken)
                shelves[room - size].append(taken)
                rooms |= 1 << (room - size)
                continue
            # No open bin has room for this size, nor will one before its own new bins are full.
            each = capacity // size
            bins[at:end] = opened + np.arange(end - at) // each
            full, rest = divmod(end - at, each)
            if full:
                room = capacity - each * size
                shelves[room].append(np.arange(opened, opened + full))
                rooms |= 1 << room
            if rest:
                room = capacity - rest * size
                shelves[room].append(np.array([opened + full]))
                rooms |= 1 << room
            opened += full + (rest > 0)
            at = end
    return bins

"""Packing ``documents``: whole documents, best-fit decreasing, several to a row.

A document longer than a row is cut into full segments and a remainder, and elsewhere too where that
fills rows (see fill_gaps); one that fits is never cut, unless ``split_to_fill``. Each segment is
``[CLS] tokens [SEP]``, exactly as it would be alone in a row, so that with attention kept inside it
and positions restarting, being packed changes nothing. Best-fit over counts per length, as in Krell
et al. 2021 ("Efficient sequence packing without cross-contamination", section 3): all segments of
one length are placed at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, offsets_of
from pipelines.tokenize.config import TokenizeConfig
from pipelines.tokenize.fill_gaps import fill_gaps
from pipelines.tokenize.pieces import Pieces, position_keys


def fit_documents(documents: Columns, config: TokenizeConfig) -> Pieces:
    """Chooses a row for every segment of every document; segments of equal length are taken in keyed
    random order, so which of them share a row does not depend on the order of the documents."""
    seq_length, capacity = config.seq_length, config.seq_length - 2
    lengths = documents["token_ids"].lengths
    counts = -(-lengths // capacity)
    document = np.repeat(np.arange(len(lengths)), counts)
    start = (np.arange(len(document)) - np.repeat(offsets_of(counts)[:-1], counts)) * capacity
    length = np.minimum(lengths[document] - start, capacity)

    shuffled = np.argsort(
        position_keys(documents, config.seed, "packing", document, start), kind="stable"
    )
    # (16 bits: a radix sort.)
    by_length = np.argsort((capacity - length[shuffled]).astype(np.uint16), kind="stable")
    decreasing = shuffled[by_length]
    row = fit_decreasing(length[decreasing] + 2, seq_length)
    by_row = np.argsort(row, kind="stable")
    chosen = decreasing[by_row]
    pieces = Pieces(document[chosen], start[chosen], length[chosen], row[by_row], each_leads=True)
    return fill_gaps(pieces, lengths > capacity, seq_length, cut_all=config.split_to_fill)


def fit_decreasing(sizes: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """Best-fit: each item goes to the fullest bin that still has room for it, else to a new one.

    ``sizes`` int64[m], decreasing, in 1..capacity. Returns int64[m], the bin of each item, numbered
    in the order of opening: ``fit_decreasing([7, 6, 3, 3, 2], 10)`` is ``[0, 1, 0, 1, 2]``. Each step
    places as many items of one size as there are bins with the same room.
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
            room = size + (fitting & -fitting).bit_length() - 1 if fitting else capacity
            # A bin that got one item is the fullest that fits the next: it takes all it can.
            each = room // size
            needed = -(-(end - at) // each)
            if fitting:
                taken = shelves[room].pop()
                if len(taken) > needed:
                    shelves[room].append(taken[needed:])
                    taken = taken[:needed]
                elif not shelves[room]:
                    rooms ^= 1 << room
            else:
                taken = np.arange(opened, opened + needed)
                opened += needed
            placed = min(end - at, each * len(taken))
            bins[at : at + placed] = taken.repeat(each)[:placed]
            at += placed
            full, rest = divmod(placed, each)
            for left, group in (
                (room - each * size, taken[:full]),
                (room - rest * size, taken[full:]),
            ):
                if len(group):
                    shelves[left].append(group)
                    rooms |= 1 << left
    return bins

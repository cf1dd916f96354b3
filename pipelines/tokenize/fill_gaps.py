"""Filling the room that best-fit leaves, by cutting segments (the option ``split_to_fill``).

Some rows are taken apart and their tokens poured, in order, into the gaps of the others. Rows made
only of documents too long for one row go first: these are cut anyway, so most corpora need no
document cut that fits a row. No token is lost, and no more rows are made than there were.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pipelines.tokenize.pieces import Pieces

_FILL_ENOUGH = 0.9995
_SHORTEST_CUTS = (16, 4, 1)  # tokens; shorter ones are cut only where the fill asks for it


def fill_gaps(pieces: Pieces, is_long: NDArray[np.bool_], seq_length: int) -> Pieces:
    """Cuts pieces and moves them until the rows are full; all pieces must be ``leads`` ones.

    ``is_long`` bool[documents]: cut anyway, so preferred. Returns new pieces in rows of at most
    ``seq_length`` tokens.
    """
    for shortest in _SHORTEST_CUTS:
        if not len(pieces) or pieces.costs.sum() >= _FILL_ENOUGH * (pieces.row[-1] + 1) * seq_length:
            break
        pieces = _pour(pieces, is_long, seq_length, min(shortest, seq_length // 4))
    return pieces


def _pour(pieces: Pieces, is_long: NDArray[np.bool_], seq_length: int, shortest: int) -> Pieces:
    """One pass with cuts of at least ``shortest`` tokens (but for the end of a document)."""
    gaps = seq_length - np.bincount(pieces.row, weights=pieces.costs).astype(np.int64)
    wide = np.flatnonzero(gaps >= shortest + 2)
    wide = wide[np.argsort(-gaps[wide], kind="stable")]
    rooms = deque(zip(wide.tolist(), (gaps[wide] - 2).tolist(), strict=True))  # emptiest first
    space = sum(room for _, room in rooms)  # tokens that can still be poured
    row, room = -1, 0  # the row being filled and the tokens it can take
    only_long = np.logical_and.reduceat(is_long[pieces.document], pieces.first)
    long_rows = iter(np.flatnonzero(only_long & (gaps < shortest + 2)).tolist())
    bounds = np.append(pieces.first, len(pieces))

    taken_apart: list[int] = []
    moved: list[tuple[int, int, int, int]] = []  # document, start, length, row
    while rooms:
        giver = next(long_rows, -1)
        if giver < 0:
            giver, own_room = rooms.popleft()
            space -= own_room
        own = slice(int(bounds[giver]), int(bounds[giver + 1]))
        if space < pieces.length[own].sum():
            if gaps[giver] < shortest + 2:
                long_rows = iter(())  # too large to pour; the emptiest row may still go
                continue
            break
        taken_apart.append(giver)
        documents, starts = pieces.document[own].tolist(), pieces.start[own].tolist()
        lengths = pieces.length[own].tolist()
        for document, start, length in zip(documents, starts, lengths, strict=True):
            while length:
                if room < shortest:
                    space -= room
                    # Where the cuts used up more room than foreseen, the rest stays in its row.
                    row, room = rooms.popleft() if rooms else (giver, seq_length - 2)
                cut = min(length, room)
                if 0 < length - cut < shortest:  # leave an end that is worth a piece
                    cut = max(length - shortest, shortest)
                moved.append((document, start, cut, row))
                start, length = start + cut, length - cut
                room -= cut + 2
                space -= cut + 2

    stays = np.ones(len(gaps), np.bool_)
    stays[taken_apart] = False
    kept = stays[pieces.row]
    added = np.array(moved, np.int64).reshape(-1, 4)
    row = np.append(pieces.row[kept], added[:, 3])
    order = np.argsort(row, kind="stable")
    return Pieces(
        document=np.append(pieces.document[kept], added[:, 0])[order],
        start=np.append(pieces.start[kept], added[:, 1])[order],
        length=np.append(pieces.length[kept], added[:, 2])[order],
        row=np.unique(row, return_inverse=True)[1][order],
        leads=np.ones(len(order), np.bool_),
    )

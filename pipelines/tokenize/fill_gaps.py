"""Filling the room that best-fit leaves in rows, by cutting segments elsewhere.

Some rows are taken apart and their tokens moved, in order, into the gaps of the others: first rows
made only of documents too long for one row, which are cut anyway, and where these do not suffice
and it is allowed (``split_to_fill``), the emptiest rows. No token is lost and no row is added.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from pipelines.tokenize.pieces import Pieces

_FILL_ENOUGH = 0.9995
_SHORTEST_CUT = 8  # tokens: fewer teach little
_SHORTER_CUTS = (4, 1)  # only if asked to fill at any cost, and only where it takes them


def fill_gaps(
    pieces: Pieces, is_long: NDArray[np.bool_], seq_length: int, *, cut_all: bool
) -> Pieces:
    """Cuts pieces, each with its own [CLS], and moves them until rows of ``seq_length`` are full.

    Only pieces of documents that no row can hold (``is_long`` bool[N]) are cut, unless ``cut_all``.
    """
    if not len(pieces):
        return pieces
    enough = pieces.costs.sum() / _FILL_ENOUGH
    for shortest in (_SHORTEST_CUT, *(_SHORTER_CUTS if cut_all else ())):
        rows = int(pieces.row[-1]) + 1
        if rows * seq_length <= enough:
            break
        only_long = np.logical_and.reduceat(is_long[pieces.document], pieces.first)
        shortest = min(shortest, seq_length // 4)
        taken_apart, moved = _choose_cuts(pieces, only_long, cut_all, seq_length, shortest)
        pieces = _apply_cuts(pieces, taken_apart, moved)
    return pieces


def _choose_cuts(
    pieces: Pieces, only_long: NDArray[np.bool_], cut_all: bool, seq_length: int, shortest: int
) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """The rows to take apart in one pass, and the document, start, length and row of the new pieces.

    ``only_long`` bool[R]: the rows to take apart first and, unless ``cut_all``, the only ones. Cuts
    leave ``shortest`` tokens or more, except at the end of a document.
    """
    gaps = seq_length - np.bincount(pieces.row, weights=pieces.costs).astype(np.int64)
    wide = np.flatnonzero(gaps >= shortest + 2)
    wide = wide[np.argsort(-gaps[wide], kind="stable")]
    rooms = deque(zip(wide.tolist(), (gaps[wide] - 2).tolist(), strict=True))  # emptiest first
    space = sum(room for _, room in rooms)  # tokens that still fit into gaps
    row, room = -1, 0  # the row being filled and the tokens it can take
    long_rows = iter(np.flatnonzero(only_long & (gaps < shortest + 2)).tolist())
    bounds = np.append(pieces.first, len(pieces))

    taken_apart: list[int] = []
    moved: list[tuple[int, int, int, int]] = []
    while rooms:
        giver = next(long_rows, -1)
        if giver < 0:
            if not (cut_all or only_long[rooms[0][0]]):
                break
            giver, own_room = rooms.popleft()
            space -= own_room
        own = slice(int(bounds[giver]), int(bounds[giver + 1]))
        if space < pieces.length[own].sum():
            if gaps[giver] < shortest + 2:
                long_rows = iter(())  # too large to move; the emptiest row may still go
                continue
            break
        taken_apart.append(giver)
        columns = (pieces.document[own], pieces.start[own], pieces.length[own])
        for document, start, length in zip(*(c.tolist() for c in columns), strict=True):
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

    return taken_apart, moved


def _apply_cuts(
    pieces: Pieces, taken_apart: list[int], moved: list[tuple[int, int, int, int]]
) -> Pieces:
    """Replaces the pieces of the rows taken apart by those moved, and closes up the row numbers."""
    stay = ~np.isin(pieces.row, taken_apart)
    staying = np.stack([pieces.document, pieces.start, pieces.length, pieces.row])[:, stay]
    mixed = np.append(staying, np.array(moved, np.int64).reshape(-1, 4).T, axis=1)
    document, start, length, row = mixed[:, np.argsort(mixed[3], kind="stable")]
    row = np.cumsum(np.diff(row, prepend=row[0]) > 0)
    return Pieces(document, start, length, row, each_leads=True)

"""Tables as arrays: what moves between steps and into record files.

A table (``Columns``) maps a name to one array per column, all of the same length n. A column is
either a plain numpy array whose first axis is n, or ``Ragged``: one flat array of values with
n + 1 offsets. There are no Python objects per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ragged:
    """n lists of different lengths: list i is ``values[offsets[i]:offsets[i + 1]]``.

    ``values`` is a flat array of any dtype, ``offsets`` int64[n + 1] that starts at 0.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[n], the length of each list."""
        return np.diff(self.offsets)


_VALUES_AT_ONCE = 1 << 18

Columns = dict[str, "NDArray[Any] | Ragged"]


def offsets_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Offsets int64[n + 1] from lengths[n]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def take_ragged(column: Ragged, rows: NDArray[np.int64]) -> Ragged:
    """The lists with the given indices, in that order."""
    lengths = column.lengths[rows]
    offsets = offsets_of(lengths)
    values = np.empty(offsets[-1], column.values.dtype)
    # Element j of the result comes from its own list's start plus its place within that list.
    shift = column.offsets[:-1][rows] - offsets[:-1]
    first = 0
    while first < len(rows):
        # Some lists at a time: an index per value takes many times the room of the values.
        last = int(np.searchsorted(offsets, offsets[first] + _VALUES_AT_ONCE, "right")) - 1
        last = max(last, first + 1)
        start, stop = int(offsets[first]), int(offsets[last])
        if last == first + 1:
            values[start:stop] = column.values[start + shift[first] : stop + shift[first]]
        else:
            places = np.repeat(shift[first:last], lengths[first:last])
            places += np.arange(start, stop)
            values[start:stop] = column.values[places]
        first = last
    return Ragged(values, offsets)


def take(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """The rows with the given indices, in that order, of every column."""
    return {
        name: take_ragged(column, rows) if isinstance(column, Ragged) else column[rows]
        for name, column in columns.items()
    }


def concatenate(tables: Sequence[Columns]) -> Columns:
    """The tables (at least one, all with the same columns) one below the other."""
    result: Columns = {}
    for name, first in tables[0].items():
        parts: list[Any] = [table[name] for table in tables]
        if isinstance(first, Ragged):
            lengths = np.concatenate([part.lengths for part in parts])
            values = np.concatenate([part.values for part in parts])
            result[name] = Ragged(values, offsets_of(lengths))
        else:
            result[name] = np.concatenate(parts)
    return result


def row_count(columns: Columns) -> int:
    """The number of rows n of a table."""
    return len(next(iter(columns.values())))

"""Tables as arrays: what moves between steps and into record files.

A table (``Columns``) maps a name to one array per column, all of the same length n. A column is
either a plain numpy array whose first axis is n, or ``Ragged``: one flat array of values with
n + 1 offsets. There are no Python objects per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_VALUES_AT_ONCE = 1 << 18
# Lists that are longer on average are copied one by one, shorter ones by an index per value.
_LONG_LIST = 512


@dataclass(frozen=True)
class Ragged:
    """n lists of different lengths: list i is ``values[offsets[i]:offsets[i + 1]]``.

    ``values`` is a flat array of any dtype, ``offsets`` int64[n + 1] that starts at 0.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @staticmethod
    def empty(dtype: DTypeLike) -> Ragged:
        """No lists."""
        return Ragged(np.zeros(0, dtype), np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[n], the length of each list."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """The lists with the given indices, in that order."""
        return self.take_starts(rows, self.lengths[rows])

    def take_starts(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ragged:
        """The first ``lengths[k]`` values of list ``rows[k]``, for each k."""
        offsets = offsets_of(lengths)
        values = np.empty(offsets[-1], self.values.dtype)
        # Value j of the result is value j + shift of this.
        shift = self.offsets[:-1][rows] - offsets[:-1]
        first = 0
        while first < len(rows):
            # Some lists at a time: an index per value takes many times the memory of the values.
            last = int(np.searchsorted(offsets, offsets[first] + _VALUES_AT_ONCE, "right")) - 1
            last = max(last, first + 1)
            start, stop = int(offsets[first]), int(offsets[last])
            if stop - start > _LONG_LIST * (last - first):
                for k in range(first, last):
                    begin, end = int(offsets[k]), int(offsets[k + 1])
                    values[begin:end] = self.values[begin + shift[k] : end + shift[k]]
            else:
                sources = np.repeat(shift[first:last], lengths[first:last])
                sources += np.arange(start, stop)
                values[start:stop] = self.values[sources]
            first = last
        return Ragged(values, offsets)


Columns = dict[str, Any]  # an array or Ragged by name


def offsets_of(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Offsets int64[n + 1] from lengths[n]."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_count(columns: Columns) -> int:
    """The number of rows n of a table."""
    return len(next(iter(columns.values())))


def take(columns: Columns, rows: NDArray[np.int64]) -> Columns:
    """The rows with the given indices, in that order, of every column."""
    return {
        name: column.take(rows) if isinstance(column, Ragged) else column[rows]
        for name, column in columns.items()
    }


def join_lists(groups: Sequence[Ragged]) -> Ragged:
    """The lists of at least one group, one group after the other."""
    lengths = np.concatenate([group.lengths for group in groups])
    return Ragged(np.concatenate([group.values for group in groups]), offsets_of(lengths))


def concatenate(tables: Sequence[Columns]) -> Columns:
    """The tables (at least one, all with the same columns) one below the other."""
    columns = {name: [table[name] for table in tables] for name in tables[0]}
    return {
        name: join_lists(group) if isinstance(group[0], Ragged) else np.concatenate(group)
        for name, group in columns.items()
    }


def concatenate_at(tables: Sequence[Columns], order: NDArray[np.int64]) -> Columns:
    """Joins tables, moving row k of the result so far to row ``order[k]``: a permutation of all."""
    sources = np.empty_like(order)
    sources[order] = np.arange(len(order))
    return take(concatenate(tables), sources)


def begins_run(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """bool[n]: the rows that differ from the one before in some column, and the first."""
    marked = np.zeros(len(columns[0]), np.bool_)
    for column in columns:
        marked[1:] |= column[1:] != column[:-1]
    marked[:1] = True
    return marked


def group_rows(keys: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each distinct key, ascending, with the indices of its rows, ascending."""
    order = np.argsort(keys, kind="stable")
    distinct, begins = np.unique(keys[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, begins[1:]), strict=False)

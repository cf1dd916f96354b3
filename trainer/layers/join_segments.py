"""Segments joined into rows of one length, the numpy core of the two packers.

Geometry: R rows, L the length of a row. Where a value comes from is told by ``owners`` [R, L]: the
number of its segment, or -1 for padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.layers.trim_segments import trimmed_lengths


def special_values(value: Any) -> list[Any]:
    """One id or token, or several, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def join_segments(
    segments: list[list[list[Any]]],
    *,
    length: int,
    start: list[Any],
    separator: list[Any],
    end: list[Any],
    pad_value: Any,
    truncate: str,
    padding_side: str,
) -> tuple[NDArray, NDArray[np.int32]]:
    """Rows of ``start``, the segments with ``separator`` between them, ``end`` and padding.

    Args:
        segments: the rows of the first segment, of the second, …: lists of ids or of tokens.
        length: L; what is too long is trimmed by the rule ``truncate`` (see ``trim_segments``).
        start, separator, end: special ids or tokens; each belongs to the segment before it.
        pad_value: 0 or "" where None.
        padding_side: "right" or "left".

    Returns:
        Values int32 or str [R, L], and ``owners`` int32[R, L].
    """
    rows = len(segments[0])
    specials = len(start) + len(end) + len(separator) * (len(segments) - 1)
    lengths = np.array([[len(row) for row in segment] for segment in segments], np.int64)
    lengths = lengths.reshape(len(segments), rows).T
    kept = trimmed_lengths(lengths, length - specials, truncate)
    values: list[list[Any]] = []
    owners: list[list[int]] = []
    for r in range(rows):
        row, owner = list(start), [0] * len(start)
        for s, segment in enumerate(segments):
            after = end if s == len(segments) - 1 else separator
            joined = [*segment[r][: kept[r, s]], *after]
            row += joined
            owner += [s] * len(joined)
        values.append(row[:length])
        owners.append(owner[:length])
    return _pad(values, length, pad_value, padding_side), _pad(owners, length, -1, padding_side)


def _pad(rows: list[list[Any]], length: int, pad_value: Any, padding_side: str) -> NDArray:
    """Rows of at most ``length`` values as int32 or str [R, L]."""
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', not {padding_side!r}")
    text = any(isinstance(value, (str, bytes)) for row in rows for value in row[:1])
    if pad_value is None:
        pad_value = "" if text else 0
    array = np.full((len(rows), length), pad_value, object if text else np.int32)
    for r, row in enumerate(rows):
        if padding_side == "right":
            array[r, : len(row)] = row
        else:
            array[r, length - len(row) :] = row
    if not text:
        return array
    decoded = [value.decode() if isinstance(value, bytes) else value for value in array.ravel()]
    return np.array(decoded, np.str_).reshape(array.shape)

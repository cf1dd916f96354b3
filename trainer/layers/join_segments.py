"""Segments joined into rows of one length: the numpy core of the two packers.

Shapes: R rows of length L.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.layers.trim_segments import trimmed_lengths


def join_segments(
    segments: Sequence[Any],
    *,
    length: int,
    start: list[Any],
    separator: list[Any],
    end: list[Any],
    pad_value: Any,
    truncate: str,
    padding_side: str,
) -> tuple[NDArray, NDArray[np.int32], NDArray[np.bool_]]:
    """Rows of ``start``, the segments with ``separator`` between them, ``end`` and padding.

    Args:
        segments: the rows of the first segment, of the second, …: sequences of ids or of tokens.
        length: L; what is too long is trimmed by the rule ``truncate`` (see ``trim_segments``).
        start, separator, end: special ids or tokens; each belongs to the segment before it.
        pad_value: 0 or "" where None.
        padding_side: "right" or "left".

    Returns:
        Values int32 or str [R, L]; the number of each value's segment, int32[R, L], 0 for padding;
        and bool[R, L], False for padding.
    """
    specials = len(start) + len(end) + len(separator) * (len(segments) - 1)
    lengths = np.array([[len(row) for row in segment] for segment in segments], np.int64).T
    kept = trimmed_lengths(lengths, length - specials, truncate)
    rows: list[list[Any]] = []
    owners: list[list[int]] = []
    for texts, rooms in zip(zip(*segments, strict=True), kept.tolist(), strict=True):
        row, owner = list(start), [0] * len(start)
        for number, (text, room) in enumerate(zip(texts, rooms, strict=True)):
            row += [*text[:room], *(separator if number < len(segments) - 1 else end)]
            owner += [number] * (len(row) - len(owner))
        rows.append(row[:length])
        owners.append(owner[:length])
    padding_mask = _padding_mask([len(row) for row in rows], length, padding_side)
    segment_ids = np.zeros(padding_mask.shape, np.int32)
    segment_ids[padding_mask] = list(chain.from_iterable(owners))
    return (
        _fill(padding_mask, list(chain.from_iterable(rows)), pad_value),
        segment_ids,
        padding_mask,
    )


def _padding_mask(lengths: list[int], length: int, padding_side: str) -> NDArray[np.bool_]:
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side must be 'left' or 'right', not {padding_side!r}")
    mask = np.arange(length) < np.array(lengths, np.int64)[:, None]
    return mask if padding_side == "right" else mask[:, ::-1]


def _fill(mask: NDArray[np.bool_], values: list[Any], pad_value: Any) -> NDArray:
    """The values where the mask is True, row by row, and the pad value elsewhere."""
    is_text = any(isinstance(value, (str, bytes)) for value in (*values[:1], pad_value))
    if pad_value is None:
        pad_value = "" if is_text else 0
    array = np.full(mask.shape, pad_value, object if is_text else np.int32)
    array[mask] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return array.astype(np.str_) if is_text else array

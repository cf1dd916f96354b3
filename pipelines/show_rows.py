"""Rows decoded for people: the pieces of each document, and what stood where a mask is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, Ragged
from pipelines.text.vocabulary import Vocabulary

_SHOWN = ("token_ids", "segment_lengths", "mask_positions", "mask_ids", "label")


def describe_rows(columns: Columns, vocabulary: Vocabulary, count: int) -> Iterator[str]:
    """Lines on the first rows of packed rows or masked examples.

    A selected token is shown as it is in the row, with what is to be predicted in brackets behind it:
    ``the [MASK][cat] sat``. Of records of another kind there are none.
    """
    lists = [columns.get(name) for name in _SHOWN if name in columns or name in _SHOWN[:2]]
    if not all(isinstance(column, Ragged) for column in lists):
        return
    for row in range(min(count, len(columns["token_ids"]))):
        heading = f"row {int(columns['row_id'][row]):016x}" if "row_id" in columns else "row"
        if "copy" in columns:
            heading += f", copy {columns['copy'][row]}"
        if "label" in columns:
            label = _list(columns, "label", row).astype(np.uint8).tobytes()
            heading += f", label {label.decode(errors='replace')}"
        yield heading
        pieces = _decode(_list(columns, "token_ids", row), vocabulary)
        if "mask_positions" in columns:
            targets = _decode(_list(columns, "mask_ids", row), vocabulary)
            for position, target in zip(
                _list(columns, "mask_positions", row), targets, strict=True
            ):
                pieces[position] += f"[{target}]"
        ends = np.cumsum(_list(columns, "segment_lengths", row)).tolist()
        for number, (start, end) in enumerate(pairwise([0, *ends]), 1):
            yield f"  {number}: {' '.join(pieces[start:end])}"


def _list(columns: Columns, name: str, row: int) -> NDArray[np.integer]:
    values, offsets = columns[name].values, columns[name].offsets
    return values[offsets[row] : offsets[row + 1]]


def _decode(ids: NDArray[np.integer], vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.tokens[i] if i < vocabulary.size else f"<{i}>" for i in ids.tolist()]

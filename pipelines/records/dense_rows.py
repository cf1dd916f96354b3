"""Packed rows as dense arrays: what the masking stage and the trainer compute on.

On disk a row is as long as its tokens; here N rows become rectangles of ``seq_length``, padded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.records.ragged import Columns


def dense_rows(columns: Columns, seq_length: int, pad_id: int) -> dict[str, NDArray[Any]]:
    """Pads N packed rows to rectangles.

    Needs the columns ``row_id``, ``token_ids`` and ``segment_lengths``. Returns ``token_ids``
    int32[N, seq_length] (``pad_id`` after the end), ``document_ids`` int32 (1, 2, ... for the runs
    of a row; 0 = padding), ``segment_ids`` int32 (0 but for rows with that column),
    ``padding_mask`` bool (False = padding), ``row_id`` uint64[N], and ``next_sentence_labels``
    uint8[N] where the rows have it.

    Raises UserError if a row is longer than ``seq_length``, or one of these columns is missing.

    With ``seq_length`` 8, a row of runs of 4 and 3 tokens has ``document_ids`` 1 1 1 1 2 2 2 0.
    """
    if missing := {"row_id", "token_ids", "segment_lengths"} - set(columns):
        raise UserError(
            f"rows without {', '.join(sorted(missing))}: the schema in their manifest is damaged; make "
            "them again"
        )
    tokens, runs = columns["token_ids"], columns["segment_lengths"]
    longest = int(tokens.lengths.max(initial=0))
    if longest > seq_length:
        raise UserError(
            f"a row has {longest} tokens but seq_length is {seq_length}: use the seq_length that "
            "the rows were packed with, or a longer one"
        )
    run_lengths = runs.values.astype(np.int64)
    if run_lengths.sum() != len(tokens.values):
        raise ValueError(f"runs of {run_lengths.sum()} tokens in rows of {len(tokens.values)}")
    numbers = np.arange(len(run_lengths)) - np.repeat(runs.offsets[:-1], runs.lengths) + 1
    padding_mask = np.arange(seq_length) < tokens.lengths[:, None]

    def spread(values: NDArray[Any], padding: int) -> NDArray[np.int32]:
        dense = np.full(padding_mask.shape, padding, np.int32)
        dense[padding_mask] = values
        return dense

    dense: dict[str, NDArray[Any]] = {
        "row_id": columns["row_id"],
        "token_ids": spread(tokens.values, pad_id),
        "document_ids": spread(np.repeat(numbers.astype(np.int32), run_lengths), 0),
        "padding_mask": padding_mask,
    }
    if "segment_ids" in columns:
        dense["segment_ids"] = spread(columns["segment_ids"].values, 0)
        dense["next_sentence_labels"] = columns["next_sentence_labels"]
    else:
        dense["segment_ids"] = np.zeros(padding_mask.shape, np.int32)
    return dense

"""Rows to masked examples, as columns: the pure core of the stage ``mask``.

An example is stored like its row (unpadded), with the token ids masked and three columns more: the
``copy``, and the ``mask_positions`` and ``mask_ids`` of the row, as many as were chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.mask.mask_rows import MaskConfig, MaskCounts, mask_rows
from pipelines.records.dense_rows import dense_rows
from pipelines.records.ragged import Columns, Ragged, offsets_of
from pipelines.text.vocabulary import Vocabulary


def unselectable_ids(vocabulary: Vocabulary) -> list[int]:
    """The special tokens, which are never masked."""
    return [
        vocabulary.pad_id,
        vocabulary.unk_id,
        vocabulary.cls_id,
        vocabulary.sep_id,
        vocabulary.mask_id,
    ]


def mask_columns(
    rows: Columns, vocabulary: Vocabulary, config: MaskConfig, *, seq_length: int, copy: int
) -> tuple[Columns, MaskCounts]:
    """The examples of one copy of the rows, in the rows' order, and the counts of the masking."""
    dense = dense_rows(rows, seq_length, vocabulary.pad_id)
    masked, counts = mask_rows(
        dense["token_ids"],
        dense["row_id"],
        config=config,
        vocabulary_size=vocabulary.size,
        mask_token_id=vocabulary.mask_id,
        unselectable_token_ids=unselectable_ids(vocabulary),
        padding_mask=dense["padding_mask"],
        is_continuation=vocabulary.is_continuation,
        document_ids=dense["document_ids"],
        copy=copy,
    )
    tokens: Any = rows["token_ids"]
    chosen = masked["mask_weights"] > 0
    offsets = offsets_of(np.count_nonzero(chosen, axis=1))
    examples = {name: column for name, column in rows.items() if name != "token_ids"}
    return {
        **examples,
        "copy": np.full(len(tokens), copy, np.uint16),
        "token_ids": Ragged(
            masked["token_ids"][dense["padding_mask"]].astype(tokens.values.dtype), tokens.offsets
        ),
        "mask_positions": Ragged(masked["mask_positions"][chosen].astype(np.uint16), offsets),
        "mask_ids": Ragged(masked["mask_ids"][chosen].astype(tokens.values.dtype), offsets),
    }, counts

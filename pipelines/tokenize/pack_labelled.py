"""Packing ``examples``: one labelled document a row, for fine-tuning.

A row holds what the text classifier's preprocessor gives: [CLS] first [SEP], or
[CLS] first [SEP] second [SEP]. The order of the rows follows from the examples alone; the same
example twice in the input stands in the output twice.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns, Ragged, ragged_column
from pipelines.tokenize.pieces import Documents, Pieces


def lay_texts(documents: Documents, texts: Ragged) -> Pieces:
    """A row for each document, with a piece for each of its texts; ``texts`` has their lengths."""
    row = np.repeat(np.arange(len(texts)), texts.lengths)
    start = np.cumsum(texts.values) - texts.values - documents.tokens.offsets[row]
    return Pieces(document=row, start=start, length=texts.values, row=row)


def example_ids(doc_ids: NDArray[np.uint64], occurrence: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The ``row_id`` of each example."""
    return fold(purpose_key(0, "example"), doc_ids, occurrence)


def labels_of(columns: Columns) -> list[str]:
    """The label of each row, as text."""
    label = ragged_column(columns, "label")
    data = label.values.tobytes()
    return [data[a:b].decode() for a, b in pairwise(label.offsets.tolist())]


def rank_labels(columns: Columns) -> NDArray[np.int64]:
    """int64[n]: the place of each row's label among all labels in alphabetical order."""
    labels = np.array(labels_of(columns), np.str_)
    return np.unique(labels, return_inverse=True)[1].reshape(-1)

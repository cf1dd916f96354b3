"""Rows decoded for people: the tokens of each document, and what stood where a mask is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.pages.shown_tokens import ShownToken
from pipelines.records.ragged import Columns, Ragged
from pipelines.text.vocabulary import Vocabulary

_LISTS = ("token_ids", "segment_lengths", "mask_positions", "mask_ids", "label")


@dataclass(frozen=True)
class ShownRow:
    """A row as the model gets it: its documents, each with its ``doc_id``, and what it is called."""

    name: str
    documents: list[tuple[int, list[ShownToken]]]

    @property
    def predicted(self) -> int:
        """How many of its tokens are to be predicted."""
        return sum(token.is_masked for _, tokens in self.documents for token in tokens)


def decode_row(columns: Columns, row: int, vocabulary: Vocabulary) -> ShownRow:
    """One of the packed rows or masked examples."""

    def numbers(name: str) -> list[int]:
        """The row's list in a column."""
        column = columns[name]
        return column.values[slice(*column.offsets[row : row + 2])].tolist()

    def decode(ids: list[int]) -> list[str]:
        return [vocabulary.tokens[i] if i < vocabulary.size else f"<{i}>" for i in ids]

    targets: dict[int, str] = {}
    if "mask_positions" in columns:
        hidden = decode(numbers("mask_ids"))
        targets = dict(zip(numbers("mask_positions"), hidden, strict=True))
    seen = decode(numbers("token_ids"))
    tokens = [ShownToken(token, targets.get(place)) for place, token in enumerate(seen)]
    ends = np.cumsum(numbers("segment_lengths")).tolist()
    doc_ids = numbers("doc_ids") if "doc_ids" in columns else ends
    name = f"{int(columns['row_id'][row]):016x}"
    if "copy" in columns:
        name += f", copy {int(columns['copy'][row])}"
    if "label" in columns:
        name += f", label {bytes(numbers('label')).decode(errors='replace')}"
    documents = [tokens[start:end] for start, end in pairwise([0, *ends])]
    return ShownRow(name, list(zip(doc_ids, documents, strict=True)))


def describe_rows(columns: Columns, vocabulary: Vocabulary, count: int) -> Iterator[str]:
    """Lines on the first rows of packed rows or masked examples.

    A selected token is shown as it is in the row, with what is to be predicted in brackets behind it:
    ``the [MASK][cat] sat``. Of records of another kind there are none.
    """
    lists = [columns.get(name) for name in _LISTS if name in columns or name in _LISTS[:2]]
    if "row_id" not in columns or not all(isinstance(column, Ragged) for column in lists):
        return
    for row in range(min(count, len(columns["token_ids"]))):
        shown = decode_row(columns, row, vocabulary)
        yield f"row {shown.name}"
        for number, (_, tokens) in enumerate(shown.documents, 1):
            pieces = [t.seen if t.target is None else f"{t.seen}[{t.target}]" for t in tokens]
            yield f"  {number}: {' '.join(pieces)}"

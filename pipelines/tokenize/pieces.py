"""Pieces of documents and the rows they are laid out in: what every kind of packing shares.

A kind of packing only decides which piece of which document goes into which row (``Pieces``).
``lay_out`` turns that decision into the columns of the rows: it copies the tokens between their
special tokens. Each row is named after the content that it starts with, and the names decide the
order of rows, which is random, so that reading a shard in sequence is already shuffled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipelines.keyed_random import fold, purpose_key
from pipelines.records.ragged import Columns, Ragged, offsets_of

_COPY_BLOCK = 1024  # runs copied at once: what passes between stays in the processor's cache


@dataclass(frozen=True)
class Pieces:
    """M runs of tokens and the rows that they go into; every array int64[M].

    Piece j is ``length[j]`` tokens from ``start[j]`` tokens into document number ``document[j]``.
    ``row`` ascends from 0 to R - 1 and skips none. Every piece is followed by [SEP]; the first of
    each row, or with ``each_leads`` every one, comes after a [CLS].
    """

    document: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    row: NDArray[np.int64]
    each_leads: bool = False

    def __len__(self) -> int:
        return len(self.row)

    @property
    def leads(self) -> NDArray[np.bool_]:
        """bool[M]: which pieces come after a [CLS]."""
        return (np.diff(self.row, prepend=-1) > 0) | self.each_leads

    @property
    def costs(self) -> NDArray[np.int64]:
        """int64[M], the positions that each piece takes in its row, special tokens included."""
        return self.length + 1 + self.leads

    @property
    def first(self) -> NDArray[np.int64]:
        """int64[R], the index of the first piece of each row."""
        return np.flatnonzero(np.diff(self.row, prepend=-1))

    def in_row_order(self, order: NDArray[np.int64]) -> Pieces:
        """The same rows with row ``order[k]`` moved to position k."""
        counts = np.bincount(self.row, minlength=len(order))[order]
        shift = np.repeat(self.first[order] - offsets_of(counts)[:-1], counts)
        chosen = np.arange(len(self)) + shift
        row = np.repeat(np.arange(len(order)), counts)
        document, start, length = self.document[chosen], self.start[chosen], self.length[chosen]
        return Pieces(document, start, length, row, self.each_leads)


def position_keys(
    documents: Columns,
    seed: int,
    purpose: str,
    document: NDArray[np.int64],
    start: NDArray[np.int64],
) -> NDArray[np.uint64]:
    """One random key per position: ``start`` tokens into document number ``document``."""
    doc_ids, occurrence = documents["doc_ids"][document], documents["occurrence"][document]
    return fold(purpose_key(seed, purpose), doc_ids, occurrence, start)


def name_rows(documents: Columns, pieces: Pieces) -> NDArray[np.uint64]:
    """uint64[R], the ``row_id`` of each row: drawn from the identity of its first piece (document,
    occurrence, start), not from the seed or the shard."""
    first = pieces.first
    return position_keys(documents, 0, "row", pieces.document[first], pieces.start[first])


def name_examples(doc_ids: NDArray[np.uint64], occurrence: NDArray[np.int64]) -> NDArray[np.uint64]:
    """uint64[R], the ``row_id`` of each row that is one labelled document."""
    return fold(purpose_key(0, "example"), doc_ids, occurrence)


def order_rows(row_ids: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
    """int64[R], the rows in their keyed random order."""
    return np.argsort(fold(purpose_key(seed, "row order"), row_ids), kind="stable")


def lay_out(
    documents: Columns, pieces: Pieces, row_ids: NDArray[np.uint64], cls_id: int, sep_id: int
) -> Columns:
    """The columns ``row_id``, ``token_ids``, ``segment_lengths`` and ``doc_ids`` of the rows.

    Raises ValueError if two neighbouring ``row_ids`` are equal: rows that start at the same token
    of the same document.
    """
    if (row_ids[1:] == row_ids[:-1]).any():
        raise ValueError("two documents have the same doc_id and occurrence")
    ends = np.cumsum(pieces.costs)
    tokens = documents["token_ids"]
    source = np.ascontiguousarray(tokens.values)
    token_ids = np.empty(ends[-1] if len(ends) else 0, source.dtype)
    token_ids[(ends - pieces.costs)[pieces.leads]] = cls_id
    token_ids[ends - 1] = sep_id
    source_starts = tokens.offsets[pieces.document] + pieces.start
    _copy_runs(source, source_starts, token_ids, ends - 1 - pieces.length, pieces.length)
    piece_offsets = np.append(pieces.first, len(pieces))
    return {
        "row_id": row_ids,
        "token_ids": Ragged(token_ids, np.append(0, ends)[piece_offsets]),
        "segment_lengths": Ragged(pieces.costs.astype(np.uint16), piece_offsets),
        "doc_ids": Ragged(documents["doc_ids"][pieces.document], piece_offsets),
    }


def _copy_runs(
    source: NDArray[np.integer],
    source_starts: NDArray[np.int64],
    target: NDArray[np.integer],
    target_starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> None:
    """Copies runs of tokens from ``source`` to ``target``, both contiguous and of one dtype.

    Runs of the commonest length (pieces that fill a row) go through an overlapping window view, the
    others one by one: a third of the time of an index per token, which takes 24 bytes a token.
    """
    if not lengths.any():
        return
    common = max(1, int(np.bincount(lengths).argmax()))
    chosen = np.flatnonzero(lengths == common)
    source_windows = sliding_window_view(source, common)
    target_windows = sliding_window_view(target, common, writeable=True)
    for at in range(0, len(chosen), _COPY_BLOCK):
        runs = chosen[at : at + _COPY_BLOCK]
        target_windows[target_starts[runs]] = source_windows[source_starts[runs]]

    others = np.stack([source_starts, target_starts, lengths])[:, lengths != common]
    read, write = source.data, target.data
    for begin, start, length in zip(*others.tolist(), strict=True):
        write[start : start + length] = read[begin : begin + length]

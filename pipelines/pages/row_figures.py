"""What rows and examples hold, counted block by block: nothing here grows but with the documents.

Shapes: N rows of a block, T tokens in them, S segments (runs of one document), V pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.records.ragged import Columns, Ragged, offsets_of
from pipelines.text.vocabulary import SPECIAL_TOKENS, Vocabulary

# A word of more pieces than this counts with those of this many.
_MOST_PIECES = 8


class PieceFigures:
    """How often each piece occurs, and of how many pieces words are."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._is_special = np.isin(vocabulary.tokens, SPECIAL_TOKENS)
        self._is_unknown = np.isin(vocabulary.tokens, ["[UNK]"])
        self._is_text = ~self._is_special | self._is_unknown
        self.pieces = np.zeros(vocabulary.size, np.int64)
        self.words = np.zeros(_MOST_PIECES, np.int64)

    def add(self, ids_T: NDArray[np.integer]) -> None:
        """Counts tokens; what continues a word that begins elsewhere counts among pieces only."""
        self.pieces += np.bincount(ids_T, minlength=len(self.pieces))
        begins = np.flatnonzero(~self._vocabulary.is_continuation[ids_T])
        lengths = np.diff(np.append(begins, len(ids_T)))
        is_word = self.are_text(ids_T[begins])
        found = np.bincount(np.minimum(lengths[is_word], _MOST_PIECES), minlength=_MOST_PIECES + 1)
        self.words += found[1:]

    def are_text(self, ids_T: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of the tokens are of a document, [UNK] included."""
        return self._is_text[ids_T]

    @property
    def pieces_a_word(self) -> float:
        """The mean; 0 without words."""
        continued = int(self.pieces[self._vocabulary.is_continuation].sum())
        words = int(self.words.sum())
        return (words + continued) / words if words else 0.0

    @property
    def unknown_share(self) -> float:
        """Of the tokens of documents, those that are [UNK]."""
        text = int(self.pieces[self._is_text].sum())
        return int(self.pieces[self._is_unknown].sum()) / max(1, text)

    def commonest(self, count: int) -> Iterator[tuple[str, int, float]]:
        """(piece, how often, its share of all) of the most frequent pieces that are text."""
        counts = np.where(self._is_special, 0, self.pieces)
        total = max(1, int(counts.sum()))
        for i in np.lexsort((np.arange(len(counts)), -counts))[:count].tolist():
            if counts[i]:
                yield self._vocabulary.tokens[i], int(counts[i]), int(counts[i]) / total

    def never_used(self) -> list[str]:
        """The pieces that did not occur, but for the special ones, in the order of their ids."""
        unused = np.flatnonzero((self.pieces == 0) & ~self._is_special)
        return [self._vocabulary.tokens[i] for i in unused.tolist()]


@dataclass
class RowFigures:
    """Figures of rows or examples of up to ``seq_length`` tokens."""

    pieces: PieceFigures
    seq_length: int
    unk_id: int
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    segments: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    predictions: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    _documents: list[NDArray[np.uint64]] = field(default_factory=list)
    _copy: int | None = None

    def add(self, rows: Columns) -> None:
        """Counts N rows; where they are masked, what was there before."""
        tokens, runs = restore(rows), rows["segment_lengths"]
        self.pieces.add(tokens.values)
        self.lengths = _add(self.lengths, np.bincount(tokens.lengths))
        self.segments = _add(self.segments, np.bincount(runs.lengths))
        if "mask_positions" in rows:
            self.predictions = _add(self.predictions, np.bincount(rows["mask_positions"].lengths))
        copy = int(rows["copy"][0]) if "copy" in rows and self.rows else 0
        self._copy = copy if self._copy is None else self._copy
        if "doc_ids" in rows and copy == self._copy:  # of several copies, the documents of one
            bounds = offsets_of(runs.values.astype(np.int64))
            text = offsets_of(self.pieces.are_text(tokens.values))
            unknown = offsets_of(tokens.values == self.unk_id)
            sums = [(total[bounds[1:]] - total[bounds[:-1]]) for total in (text, unknown)]
            self._documents.append(np.stack([rows["doc_ids"].values, *sums]).astype(np.uint64))

    @property
    def rows(self) -> int:
        """How many were counted."""
        return int(self.lengths.sum())

    def fills(self) -> NDArray[np.float64]:
        """How full each row is, 0 to 1, in no particular order."""
        return np.repeat(np.arange(len(self.lengths)) / self.seq_length, self.lengths)

    def documents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        """The ``doc_ids``, tokens and [UNK]s of the documents; what is in several rows counts once."""
        found = np.concatenate([np.zeros((3, 0), np.uint64), *self._documents], axis=1)
        doc_ids, index = np.unique(found[0], return_inverse=True)
        sums = [np.bincount(index, found[k], len(doc_ids)).astype(np.int64) for k in (1, 2)]
        return doc_ids, sums[0], sums[1]


def restore(rows: Columns) -> Ragged:
    """The tokens of rows as they were before they were masked."""
    tokens: Ragged = rows["token_ids"]
    if "mask_positions" not in rows:
        return tokens
    positions = rows["mask_positions"]
    values = tokens.values.copy()
    begins = np.repeat(tokens.offsets[:-1], positions.lengths)
    values[begins + positions.values] = rows["mask_ids"].values
    return Ragged(values, tokens.offsets)


def _add(total: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    summed = np.zeros(max(len(total), len(counts)), np.int64)
    summed[: len(total)] += total
    summed[: len(counts)] += counts
    return summed
